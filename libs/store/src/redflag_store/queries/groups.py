"""Static groups of hosts: making, changing and listing them, and who is in them.

Guarantees: a group's name is taken once, in any case of letters, whoever asks at the same time; putting a host in
twice and taking out one that is not there change nothing. The signed intent behind a change is stored by the caller
in the same transaction.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.errors import StoreError
from redflag_store.queries.like import contains
from redflag_store.tables import Agent, AgentGroup, AgentGroupMember

GROUPS_MAX: Final = 1_000  # groups of an installation


class GroupExistsError(StoreError):
    """Another group has this name; `group` is it."""

    def __init__(self, group: AgentGroup) -> None:
        super().__init__(f"there is a group {group.name!r} already")
        self.group = group


class TooManyGroupsError(StoreError):
    """There are `GROUPS_MAX` groups already."""

    def __init__(self) -> None:
        super().__init__(f"there are {GROUPS_MAX} groups already")


@dataclass(frozen=True, slots=True)
class GroupRef:
    """A group's id and name."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group with the number of its hosts."""

    group: AgentGroup
    hosts: int


@dataclass(frozen=True, slots=True)
class GroupPage:
    """A page of groups; `total` counts all that match, `more` says whether others follow."""

    rows: list[GroupRow]
    total: int
    more: bool


async def groups_of(session: AsyncSession, agent_ids: Collection[UUID]) -> dict[UUID, list[GroupRef]]:
    """Each host's groups, by name; a host without any has an empty list."""
    found: dict[UUID, list[GroupRef]] = {agent: [] for agent in agent_ids}
    if not found:
        return found
    statement = (
        select(col(AgentGroupMember.agent_id), col(AgentGroup.id), col(AgentGroup.name))
        .join(AgentGroup, col(AgentGroup.id) == col(AgentGroupMember.group_id))
        .where(col(AgentGroupMember.agent_id).in_(list(found)))
        .order_by(col(AgentGroup.name), col(AgentGroup.id))
    )
    for agent, group, name in await session.execute(statement):
        found[agent].append(GroupRef(group, name))
    return found


async def find_group(session: AsyncSession, id_or_name: str) -> GroupRow | None:
    """The group meant by an id or a name (in any case), with the number of its hosts."""
    group: AgentGroup | None = None
    try:
        group = await session.get(AgentGroup, UUID(id_or_name))
    except ValueError:
        group = await _named(session, id_or_name)
    if group is None:
        return None
    counted = await _counts(session, [group.id])
    return GroupRow(group, counted.get(group.id, 0))


async def list_groups(
    session: AsyncSession, *, q: str | None, after: tuple[str, UUID] | None, limit: int
) -> GroupPage:
    """A page of groups by name; `q` is text in name or description, in any case."""
    filters = []
    if q:
        filters.append(contains(col(AgentGroup.name), q) | contains(col(AgentGroup.description), q))
    total = await session.scalar(select(func.count()).select_from(AgentGroup).where(*filters))
    statement = select(AgentGroup).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(col(AgentGroup.name), col(AgentGroup.id)) > after)
    statement = statement.order_by(col(AgentGroup.name), col(AgentGroup.id)).limit(limit + 1)
    groups = list((await session.scalars(statement)).all())
    counted = await _counts(session, [group.id for group in groups[:limit]])
    rows = [GroupRow(group, counted.get(group.id, 0)) for group in groups[:limit]]
    return GroupPage(rows, total or 0, len(groups) > limit)


async def create_group(session: AsyncSession, group: AgentGroup) -> None:
    """Store a new group.

    Raises:
        GroupExistsError: its name is taken.
        TooManyGroupsError: there are `GROUPS_MAX` already.
    """
    await _lock(session)
    await _refuse_taken(session, group.name, None)
    if (await session.scalar(select(func.count()).select_from(AgentGroup)) or 0) >= GROUPS_MAX:
        raise TooManyGroupsError
    session.add(group)
    await session.flush()


async def change_group(
    session: AsyncSession, group_id: UUID, *, name: str | None = None, description: str | None = None
) -> None:
    """Rename or describe a group; what is None stays.

    Raises:
        GroupExistsError: the name is taken by another one.
    """
    values: dict[str, str] = {}
    if name is not None:
        await _lock(session)
        await _refuse_taken(session, name, group_id)
        values["name"] = name
    if description is not None:
        values["description"] = description
    if values:
        await session.execute(update(AgentGroup).where(col(AgentGroup.id) == group_id).values(values))


async def delete_group(session: AsyncSession, group_id: UUID) -> None:
    """Delete a group; its hosts stay, and are in it no longer."""
    await session.execute(delete(AgentGroup).where(col(AgentGroup.id) == group_id))


async def add_hosts(
    session: AsyncSession, group_id: UUID, agents: Collection[UUID], *, by: str, at: datetime
) -> int:
    """Put hosts into a group; return how many were not in it before."""
    if not agents:
        return 0
    rows = [
        {"group_id": group_id, "agent_id": agent, "added_at": at, "added_by": by} for agent in sorted(agents)
    ]
    statement = insert(AgentGroupMember).values(rows).on_conflict_do_nothing()
    return len((await session.scalars(statement.returning(col(AgentGroupMember.agent_id)))).all())


async def remove_hosts(session: AsyncSession, group_id: UUID, agents: Collection[UUID]) -> int:
    """Take hosts out of a group; return how many were in it."""
    statement = delete(AgentGroupMember).where(
        col(AgentGroupMember.group_id) == group_id, col(AgentGroupMember.agent_id).in_(list(agents))
    )
    return len((await session.scalars(statement.returning(col(AgentGroupMember.agent_id)))).all())


async def known_hosts(session: AsyncSession, agents: Collection[UUID]) -> Mapping[UUID, str]:
    """Id and name of those of these hosts that exist."""
    rows = await session.execute(
        select(col(Agent.id), col(Agent.hostname)).where(col(Agent.id).in_(list(agents)))
    )
    return {row[0]: row[1] for row in rows}


async def _named(session: AsyncSession, name: str) -> AgentGroup | None:
    return await session.scalar(
        select(AgentGroup).where(func.lower(col(AgentGroup.name)) == func.lower(name))
    )


async def _refuse_taken(session: AsyncSession, name: str, group_id: UUID | None) -> None:
    other = await _named(session, name)
    if other is not None and other.id != group_id:
        raise GroupExistsError(other)


async def _lock(session: AsyncSession) -> None:
    """One change of names at a time, so that the second asker gets an answer instead of a broken index."""
    await session.execute(select(func.pg_advisory_xact_lock(_NAMES_KEY)))


_NAMES_KEY: Final = 0x52_46_47_52  # "RFGR"


async def _counts(session: AsyncSession, groups: Collection[UUID]) -> dict[UUID, int]:
    rows = await session.execute(
        select(col(AgentGroupMember.group_id), func.count())
        .where(col(AgentGroupMember.group_id).in_(list(groups)))
        .group_by(col(AgentGroupMember.group_id))
    )
    return {row[0]: row[1] for row in rows}
