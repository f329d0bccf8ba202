"""The hosts a job is for, as they are at its creation, with what is needed to say what each is asked for."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.queries.host_filter import HostFilter, conditions
from redflag_store.queries.updates import AT_REST
from redflag_store.tables import Agent, PackageState


@dataclass(frozen=True, slots=True)
class SelectedHost:
    """One host.

    Attributes:
        id: of the host.
        hostname: its name.
        state: its standing.
        agent_version: what it last said it runs.
        capabilities: what it said it can do with which package manager.
    """

    id: UUID
    hostname: str
    state: str
    agent_version: str | None
    capabilities: list[Any]


@dataclass(frozen=True, slots=True)
class ApprovedPackage:
    """An update that is approved at the version that is its candidate now."""

    manager: str
    name: str
    arch: str
    version: str


async def select_hosts(session: AsyncSession, wanted: HostFilter, *, most: int) -> list[SelectedHost]:
    """The hosts that match, by name; one more than `most` when there are more."""
    statement = (
        select(
            col(Agent.id),
            col(Agent.hostname),
            col(Agent.state),
            col(Agent.agent_version),
            col(Agent.capabilities),
        )
        .where(*await conditions(session, wanted))
        .order_by(col(Agent.hostname), col(Agent.id))
        .limit(most + 1)
    )
    return [SelectedHost(*row) for row in await session.execute(statement)]


async def approved_packages(
    session: AsyncSession, agents: Collection[UUID]
) -> dict[UUID, list[ApprovedPackage]]:
    """What is approved on each of these hosts, by manager, name and architecture; hosts without any are left out."""
    state = PackageState
    found: defaultdict[UUID, list[ApprovedPackage]] = defaultdict(list)
    rows = await session.execute(
        select(
            col(state.agent_id), col(state.manager), col(state.name), col(state.arch), col(state.candidate)
        )
        .where(
            col(state.agent_id).in_(list(agents)),
            col(state.approved_version) == col(state.candidate),
            col(state.state).not_in(sorted(AT_REST)),
        )
        .order_by(col(state.agent_id), col(state.manager), col(state.name), col(state.arch))
    )
    for row in rows:
        found[row[0]].append(ApprovedPackage(row[1], row[2], row[3], str(row[4])))
    return dict(found)
