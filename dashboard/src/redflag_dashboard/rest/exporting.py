"""Exports: everything that matches, streamed as JSON or CSV in bounded memory.

Guarantees: rows come through a cursor of the database, one batch in memory at a time, all as of one moment; what
fails before the first byte is a problem like any other; what fails later breaks the connection, so that half an
export never passes for a whole one (a JSON export also ends with its `count`); cells of CSV are inert in a
spreadsheet (`redflag_ops.csv_cells`). A reader that takes nothing for `WRITE_S` seconds is cut off, and at most
`AT_ONCE` exports run, because each holds a connection to the database.

A route that exports has `streams=True`, answers `Exported[Row]` as its model and returns
`Answer(Nothing(), stream=Export(...))`; see `redflag_dashboard.api.hosts.export`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel, Field
from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.rest import context, json_text
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Call
from redflag_ops import csv_cells
from redflag_ops.logging import get_logger

AT_ONCE: Final = 2  # exports of one dashboard; the rest of its connections answer requests
BATCH: Final = 500  # rows in memory
WRITE_S: Final = (
    30.0  # seconds a reader may take nothing; below the database's patience with an idle transaction
)

_log = get_logger()

RowT = TypeVar("RowT", bound=BaseModel)


class ExportFormat(StrEnum):
    """How an export is written."""

    JSON = "json"
    CSV = "csv"


class Exported(BaseModel, Generic[RowT]):
    """An export as JSON; without `count` at its end it is not whole."""

    items: list[RowT]
    count: int = Field(description="How many rows there are; the last member")


class Running:
    """How many exports run in one application."""

    def __init__(self) -> None:
        self.count = 0


RUNNING: Final = web.AppKey("exports_running", Running)


async def in_batches(session: AsyncSession, statement: Executable) -> AsyncIterator[Sequence[Any]]:
    """The rows of a statement, `BATCH` at a time, through a cursor of the database."""
    result = await session.stream(statement.execution_options(yield_per=BATCH))
    async for part in result.partitions(BATCH):
        yield part


@dataclass(frozen=True, slots=True)
class Export(Generic[RowT]):
    """What is exported.

    Attributes:
        name: of the file, for example `hosts`.
        form: JSON or CSV.
        columns: heading of each CSV column, and what of a row stands in it.
        batches: given a session, the rows in order; its transaction is read only and ends with the export.
    """

    name: str
    form: ExportFormat
    columns: Mapping[str, Callable[[RowT], object]]
    batches: Callable[[AsyncSession], AsyncIterator[Sequence[RowT]]]

    async def send(self, request: web.Request, call: Call[Any, Any, Any]) -> web.StreamResponse:
        """Stream the export as the answer to `request`.

        Raises:
            ProblemError: `too_many_waiting`, or what the rows' query raises before the first byte.
        """
        running = request.app[RUNNING]
        if running.count >= AT_ONCE:
            raise ProblemError(
                ProblemCode.TOO_MANY_WAITING,
                f"{AT_ONCE} exports run already; try again when one has ended",
                headers={"Retry-After": "10"},
            )
        running.count += 1
        try:
            async with call.parts.sessions() as session:
                return await self._send(request, call, session)
        finally:
            running.count -= 1

    async def _send(
        self, request: web.Request, call: Call[Any, Any, Any], session: AsyncSession
    ) -> web.StreamResponse:
        batches = aiter(self.batches(session))
        part = await anext(batches, None)
        response = web.StreamResponse(headers=self._headers(call))
        await response.prepare(request)
        count = 0
        try:
            await _write(response, self._head())
            while part is not None:
                await _write(response, self._rows(part, first=count == 0))
                count += len(part)
                part = await anext(batches, None)
            await _write(response, self._tail(count))
            await response.write_eof()
        except Exception as error:  # noqa: BLE001 - the answer has begun: breaking it off is all that is left to say
            _log.warning("export.broken", export=self.name, rows=count, error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        return response

    def _headers(self, call: Call[Any, Any, Any]) -> dict[str, str]:
        day = call.parts.clock.now().strftime("%Y-%m-%d")
        kinds = {ExportFormat.JSON: json_text.CONTENT_TYPE, ExportFormat.CSV: "text/csv; charset=utf-8"}
        return {
            hdrs.CONTENT_TYPE: kinds[self.form],
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="redflag-{self.name}-{day}.{self.form}"',
            context.HEADER: str(call.op),
        }

    def _head(self) -> bytes:
        return b'{"items":[' if self.form is ExportFormat.JSON else csv_cells.row(self.columns).encode()

    def _rows(self, rows: Sequence[RowT], *, first: bool) -> bytes:
        if self.form is ExportFormat.JSON:
            return (b"\n" if first else b",\n") + b",\n".join(json_text.encode(row) for row in rows)
        made = (csv_cells.row(take(row) for take in self.columns.values()) for row in rows)
        return "".join(made).encode("utf-8", "backslashreplace")

    def _tail(self, count: int) -> bytes:
        return b'\n],"count":%d}\n' % count if self.form is ExportFormat.JSON else b""


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_S):
        await response.write(data)
