"""History: what was done, on one host or on all of them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.api import host_lookup
from redflag_dashboard.api.commands import filter_of
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.history import HistoryExportQuery, HistoryLine, HistoryQuery
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.exporting import Export, Exported, in_batches
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.queries.commands import with_links
from redflag_store.queries.history import export_history, list_history, with_changes


async def history(call: Call[Nothing, HistoryQuery, Nothing]) -> Answer:
    """List what was done, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        page = await list_history(session, await filter_of(session, query), after=after, limit=query.limit)
    last = page.rows[-1].row.command if page.more else None
    return Answer(
        Page[HistoryLine](
            items=[HistoryLine.of(done) for done in page.rows],
            next=None if last is None else cursor.encode((last.requested_at, last.id)),
            total=page.total,
        )
    )


COLUMNS: Final[Mapping[str, Callable[[HistoryLine], object]]] = {
    "requested_at": lambda line: line.requested_at,
    "finished_at": lambda line: line.finished_at,
    "hostname": lambda line: line.hostname,
    "kind": lambda line: line.kind,
    "what": lambda line: line.text,
    "state": lambda line: line.state,
    "result": lambda line: line.result,
    "code": lambda line: line.code,
    "source": lambda line: line.source,
    "requested_by": lambda line: line.requested_by,
    "duration_ms": lambda line: line.duration_ms,
    "exit_code": lambda line: line.exit_code,
    "changes": lambda line: [f"{one.name}:{one.arch} {one.old} -> {one.new}" for one in line.changes],
    "change_count": lambda line: line.change_count,
    "host_started_at": lambda line: line.host_started_at,
    "host_finished_at": lambda line: line.host_finished_at,
    "host_id": lambda line: line.host_id,
    "op": lambda line: line.op,
    "command_id": lambda line: line.command_id,
}
"""The columns of a CSV export."""


async def export(call: Call[Nothing, HistoryExportQuery, Nothing]) -> Answer:
    """Export what was done, newest first."""
    async with call.parts.sessions() as session:
        wanted = await filter_of(session, call.query)

    async def batches(session: AsyncSession) -> AsyncIterator[Sequence[HistoryLine]]:
        async for part in in_batches(session, await export_history(session, wanted)):
            rows = await with_links(session, [(row[0], row[1]) for row in part])
            yield [HistoryLine.of(done) for done in await with_changes(session, rows)]

    return Answer(Nothing(), stream=Export("history", call.query.format, COLUMNS, batches))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/history", "history_list", "What was done, one line each", history, Page[HistoryLine], Nothing,
        HistoryQuery, Nothing, "history", problems=host_lookup.FILTER_PROBLEMS,
    ),
    Route(
        "GET", "/history/export", "history_export", "Export what was done", export, Exported[HistoryLine],
        Nothing, HistoryExportQuery, Nothing, "history", streams=True, problems=host_lookup.FILTER_PROBLEMS,
    ),
)  # fmt: skip
