"""What was done: commands that came to an end, each with the package changes it made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.queries.commands import CommandFilter, CommandRow, commands_statement, list_commands
from redflag_store.tables import Command, UpdateHistory

CHANGES_MAX: Final = 200  # package changes of one command in a list; all of them are counted


@dataclass(frozen=True, slots=True)
class Done:
    """One operation on one host.

    Attributes:
        row: the command.
        changes: its package changes by name, at most `CHANGES_MAX`.
        change_count: how many there are.
    """

    row: CommandRow
    changes: list[UpdateHistory]
    change_count: int


@dataclass(frozen=True, slots=True)
class DonePage:
    """A page of history, newest first; `total` counts all that match, `more` says whether others follow."""

    rows: list[Done]
    total: int
    more: bool


async def list_history(
    session: AsyncSession, wanted: CommandFilter, *, after: tuple[datetime, UUID] | None, limit: int
) -> DonePage:
    """A page of operations that came to an end, newest first."""
    page = await list_commands(session, replace(wanted, pending=False), after=after, limit=limit)
    return DonePage(await with_changes(session, page.rows), page.total, page.more)


async def export_history(session: AsyncSession, wanted: CommandFilter) -> Select[Command, str]:
    """All operations that came to an end, newest first, with their hosts' names.

    Give each batch to `redflag_store.queries.commands.with_links`, and what comes of it to `with_changes`.
    """
    return await commands_statement(session, replace(wanted, pending=False))


async def with_changes(session: AsyncSession, rows: Sequence[CommandRow]) -> list[Done]:
    """Commands with the package changes they made."""
    changes = await _changes(session, [row.command.id for row in rows])
    return [Done(row, *changes.get(row.command.id, ([], 0))) for row in rows]


async def _changes(
    session: AsyncSession, commands: Sequence[UUID]
) -> dict[UUID, tuple[list[UpdateHistory], int]]:
    if not commands:
        return {}
    order = (col(UpdateHistory.name), col(UpdateHistory.arch))
    numbered = (
        select(
            col(UpdateHistory.id),
            func.row_number().over(partition_by=col(UpdateHistory.command_id), order_by=order).label("place"),
            func.count().over(partition_by=col(UpdateHistory.command_id)).label("total"),
        )
        .where(col(UpdateHistory.command_id).in_(list(commands)))
        .subquery()
    )
    found = await session.execute(
        select(UpdateHistory, numbered.c.total)
        .join(numbered, numbered.c.id == col(UpdateHistory.id))
        .where(numbered.c.place <= CHANGES_MAX)
        .order_by(*order)
    )
    changes: dict[UUID, tuple[list[UpdateHistory], int]] = {}
    for change, total in found:
        changes.setdefault(change.command_id, ([], total))[0].append(change)
    return changes
