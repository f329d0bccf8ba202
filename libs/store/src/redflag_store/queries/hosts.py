"""Hosts as operators see them: lists, one by id or name, and the figures of the whole fleet.

Guarantees: counts are over everything that matches, never over the page; a page is found by its sort key
(host name, id), so hosts that come and go shift nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.command_states import END_STATES
from redflag_store.queries.groups import GroupRef, groups_of, known_hosts
from redflag_store.queries.host_filter import HostFilter, conditions
from redflag_store.queries.updates import UpdateFilter, count_updates
from redflag_store.states import PackageUpdateState
from redflag_store.tables import Agent, AgentUpdateCount, Command

SAME_NAME_MAX: Final = 20  # hosts of one name that are told apart in an answer


@dataclass(frozen=True, slots=True)
class UpdateFigures:
    """How many updates a host has that still ask for something; updated, rejected and ignored ones do not."""

    available: int = 0
    security: int = 0
    approved: int = 0


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host with its figures, its groups, and the name of the host it runs on."""

    agent: Agent
    updates: UpdateFigures
    pending_commands: int
    groups: Sequence[GroupRef] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class HostPage:
    """A page of hosts; `total` counts all that match, `more` says whether others follow."""

    rows: list[HostRow]
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class FleetFigures:
    """The figures of the whole fleet.

    Attributes:
        hosts: host state -> count.
        seen_lately: active hosts seen since the time asked for.
        reboot_required: active hosts that wait for a restart.
        updates: update state -> count, updated ones left out.
        security: updates that are security updates; updated, rejected and ignored ones left out.
        commands_pending: commands without an end yet.
    """

    hosts: Mapping[str, int]
    seen_lately: int
    reboot_required: int
    updates: Mapping[str, int]
    security: int
    commands_pending: int


async def list_hosts(
    session: AsyncSession, wanted: HostFilter, *, after: tuple[str, UUID] | None, limit: int
) -> HostPage:
    """A page of hosts by name.

    Args:
        session: to read with.
        wanted: which hosts.
        after: sort key of the row before the page.
        limit: rows of the page.
    """
    filters = await conditions(session, wanted)
    total = await session.scalar(select(func.count()).select_from(Agent).where(*filters))
    statement = select(Agent).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(col(Agent.hostname), col(Agent.id)) > after)
    statement = statement.order_by(col(Agent.hostname), col(Agent.id)).limit(limit + 1)
    agents = list((await session.scalars(statement)).all())
    rows = await with_figures(session, agents[:limit])
    return HostPage(rows=rows, total=total or 0, more=len(agents) > limit)


async def find_hosts(session: AsyncSession, id_or_name: str) -> list[HostRow]:
    """The hosts meant by an id or a name (in any case): none, one, or several of one name."""
    try:
        agent = await session.get(Agent, UUID(id_or_name))
    except ValueError:
        agent = None
    if agent is not None:
        return await with_figures(session, [agent])
    statement = (
        select(Agent)
        .where(func.lower(col(Agent.hostname)) == id_or_name.lower())
        .order_by(col(Agent.created_at), col(Agent.id))
        .limit(SAME_NAME_MAX)
    )
    found = list((await session.scalars(statement)).all())
    exact = [agent for agent in found if agent.hostname == id_or_name]
    return await with_figures(session, exact or found)


async def resolve_hosts(session: AsyncSession, texts: Collection[str]) -> dict[str, list[Agent]]:
    """For each id or name (in any case) the hosts it means: none, one, or several of one name."""
    ids, names = {}, {}
    for text in texts:
        try:
            ids[text] = UUID(text)
        except ValueError:
            names[text] = text.lower()
    statement = select(Agent).where(
        or_(col(Agent.id).in_(ids.values()), func.lower(col(Agent.hostname)).in_(names.values()))
    )
    found = (await session.scalars(statement.order_by(col(Agent.created_at), col(Agent.id)))).all()
    meant: dict[str, list[Agent]] = {}
    for text in texts:
        if text in ids:
            meant[text] = [agent for agent in found if agent.id == ids[text]]
        else:
            alike = [agent for agent in found if agent.hostname.lower() == names[text]]
            meant[text] = [agent for agent in alike if agent.hostname == text] or alike
    return meant


async def export_hosts(session: AsyncSession, wanted: HostFilter) -> Select[Agent]:
    """All hosts that match, by name; give each batch to `with_figures`."""
    statement = select(Agent).where(*await conditions(session, wanted))
    return statement.order_by(col(Agent.hostname), col(Agent.id))


async def lock_host(session: AsyncSession, agent_id: UUID) -> None:
    """Lock a host's row, as ingest does before it changes the host's updates; held until the commit."""
    await session.execute(select(Agent.id).where(col(Agent.id) == agent_id).with_for_update(key_share=True))  # type: ignore[call-overload]


async def fleet_figures(session: AsyncSession, seen_since: datetime) -> FleetFigures:
    """The figures of the whole fleet."""
    active = col(Agent.state) == "active"
    hosts = (await session.execute(select(col(Agent.state), func.count()).group_by(col(Agent.state)))).all()
    seen, reboot = (
        await session.execute(
            select(
                func.count().filter(and_(active, col(Agent.last_seen_at) >= seen_since)),
                func.count().filter(and_(active, col(Agent.reboot_required))),
            ).select_from(Agent)
        )
    ).one()
    counts = await count_updates(session, UpdateFilter())
    pending = await session.scalar(
        select(func.count()).select_from(Command).where(col(Command.state).not_in(sorted(END_STATES)))
    )
    return FleetFigures(
        hosts={row[0]: row[1] for row in hosts},
        seen_lately=seen,
        reboot_required=reboot,
        updates={
            state: rows for state, rows in counts.by_state.items() if state != PackageUpdateState.UPDATED
        },
        security=counts.security,
        commands_pending=pending or 0,
    )


async def with_figures(session: AsyncSession, agents: Sequence[Agent]) -> list[HostRow]:
    """Hosts with what belongs to them, a few statements for all of them together."""
    if not agents:
        return []
    ids = [agent.id for agent in agents]
    kept = AgentUpdateCount
    counted = await session.execute(
        select(col(kept.agent_id), col(kept.open), col(kept.security), col(kept.approved)).where(
            col(kept.agent_id).in_(ids)
        )
    )
    figures = {row[0]: UpdateFigures(row[1], row[2], row[3]) for row in counted}
    commands = await session.execute(
        select(col(Command.agent_id), func.count())
        .where(col(Command.agent_id).in_(ids), col(Command.state).not_in(sorted(END_STATES)))
        .group_by(col(Command.agent_id))
    )
    pending = {row[0]: row[1] for row in commands}
    groups = await groups_of(session, ids)
    above = [agent.parent_id for agent in agents if agent.parent_id is not None]
    named = await known_hosts(session, above) if above else {}
    return [
        HostRow(
            agent,
            figures.get(agent.id, UpdateFigures()),
            pending.get(agent.id, 0),
            groups[agent.id],
            None if agent.parent_id is None else named.get(agent.parent_id),
        )
        for agent in agents
    ]
