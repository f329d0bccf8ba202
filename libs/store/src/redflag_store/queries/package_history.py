"""What became of the packages of a host: versions that commands changed, and everything that happened to updates."""

from collections.abc import Collection
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from sqlmodel import col

from redflag_store.tables import UpdateEvent, UpdateHistory

_Row = TypeVar("_Row", UpdateHistory, UpdateEvent)

ROLLBACK_ROWS_MAX = 2000  # newest changes of the asked packages that are looked at for a version to return to


async def list_versions(
    session: AsyncSession,
    agent_id: UUID,
    *,
    package: str | None,
    manager: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> tuple[list[UpdateHistory], int, bool]:
    """A page of a host's version changes, newest first: rows, how many there are in all, whether others follow."""
    filters = _of_packages(UpdateHistory, agent_id, package, manager)
    return await _page(
        session, UpdateHistory, time=col(UpdateHistory.stored_at), filters=filters, after=after, limit=limit
    )


async def list_update_events(
    session: AsyncSession,
    agent_id: UUID,
    *,
    package: str | None,
    manager: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> tuple[list[UpdateEvent], int, bool]:
    """A page of what happened to a host's updates, newest first; as `list_versions`."""
    filters = _of_packages(UpdateEvent, agent_id, package, manager)
    return await _page(
        session, UpdateEvent, time=col(UpdateEvent.at), filters=filters, after=after, limit=limit
    )


def _of_packages(
    table: type[UpdateHistory] | type[UpdateEvent], agent_id: UUID, package: str | None, manager: str | None
) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = [col(table.agent_id) == agent_id]
    if package is not None:
        filters.append(col(table.name) == package)
    if manager is not None:
        filters.append(col(table.manager) == manager)
    return filters


async def _page(
    session: AsyncSession,
    table: type[_Row],
    *,
    time: Mapped[datetime],
    filters: list[ColumnElement[bool]],
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> tuple[list[_Row], int, bool]:
    total = await session.scalar(select(func.count()).select_from(table).where(*filters))
    key = (time, col(table.id))
    statement = select(table).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(*key) < after)
    statement = statement.order_by(key[0].desc(), key[1].desc()).limit(limit + 1)
    rows = list((await session.scalars(statement)).all())
    return rows[:limit], total or 0, len(rows) > limit


async def versions_before(
    session: AsyncSession, agent_id: UUID, names: Collection[str]
) -> list[UpdateHistory]:
    """Successful changes from one version to another of these packages of a host, newest first."""
    statement = (
        select(UpdateHistory)
        .where(
            col(UpdateHistory.agent_id) == agent_id,
            col(UpdateHistory.name).in_(list(names)),
            col(UpdateHistory.result) == "succeeded",
            col(UpdateHistory.old_version).is_not(None),
            col(UpdateHistory.new_version).is_not(None),
        )
        .order_by(col(UpdateHistory.stored_at).desc(), col(UpdateHistory.id).desc())
        .limit(ROLLBACK_ROWS_MAX)
    )
    return list((await session.scalars(statement)).all())
