"""System events, newest first."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.queries.tallies import tally_of
from redflag_store.states import Severity
from redflag_store.tables import Agent, SystemEvent

_RANK = [severity.value for severity in Severity]  # from debug to critical


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What to list; None means no filter.

    Attributes:
        agent_id: about one host.
        at_least: this severity or a worse one.
        component: from one component, or a part of it: `agent` stands for `agent.poller` too.
        code: of one kind.
        since, until: first happened at or after, before.
    """

    agent_id: UUID | None = None
    at_least: Severity | None = None
    component: str | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events with their hosts' names; `total` counts all that match, `more` says whether others follow."""

    rows: list[tuple[SystemEvent, str | None]]
    total: int
    more: bool


async def list_events(
    session: AsyncSession, wanted: EventFilter, *, after: tuple[datetime, UUID] | None, limit: int
) -> EventPage:
    """A page of events, newest first."""
    filters = _conditions(wanted)
    if wanted == EventFilter(at_least=wanted.at_least):
        at_least = None if wanted.at_least is None else _RANK[_RANK.index(wanted.at_least.value) :]
        total: int | None = await tally_of(session, "event", a=at_least)
    else:
        total = await session.scalar(select(func.count()).select_from(SystemEvent).where(*filters))
    statement = events_statement(wanted)
    if after is not None:
        statement = statement.where(tuple_(col(SystemEvent.at), col(SystemEvent.id)) < after)
    found = (await session.execute(statement.limit(limit + 1))).all()
    return EventPage([(row[0], row[1]) for row in found[:limit]], total or 0, len(found) > limit)


def events_statement(wanted: EventFilter) -> Select[SystemEvent, str]:
    """All events that match with their hosts' names, newest first."""
    return (
        select(SystemEvent, col(Agent.hostname))
        .outerjoin(Agent, col(Agent.id) == col(SystemEvent.agent_id))
        .where(*_conditions(wanted))
        .order_by(col(SystemEvent.at).desc(), col(SystemEvent.id).desc())
    )


def _conditions(wanted: EventFilter) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if wanted.agent_id is not None:
        filters.append(col(SystemEvent.agent_id) == wanted.agent_id)
    if wanted.at_least is not None:
        filters.append(col(SystemEvent.severity).in_(_RANK[_RANK.index(wanted.at_least.value) :]))
    if wanted.component is not None:
        component = col(SystemEvent.component)
        filters.append(
            or_(component == wanted.component, component.startswith(f"{wanted.component}.", autoescape=True))
        )
    if wanted.code is not None:
        filters.append(col(SystemEvent.code) == wanted.code)
    if wanted.since is not None:
        filters.append(col(SystemEvent.at) >= wanted.since)
    if wanted.until is not None:
        filters.append(col(SystemEvent.at) < wanted.until)
    return filters
