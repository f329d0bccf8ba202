"""Subsystems as operators see and set them: a host's own values, and the defaults of the fleet and of groups.

Guarantees: a changed default is one row and one revision, whatever the fleet's size; the scheduler plans the hosts
anew in batches. The signed intent behind a change is stored by the caller in the same transaction.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.queries.groups import groups_of
from redflag_store.subsystem_rules import FIELDS, InForce, Layer, Value, in_force
from redflag_store.tables import AgentGroup, Subsystem, SubsystemDefault


@dataclass(frozen=True, slots=True)
class HostSubsystem:
    """A host's subsystem and what holds for it."""

    row: Subsystem
    in_force: InForce


@dataclass(frozen=True, slots=True)
class DefaultRow:
    """Values for the fleet (`group` is None) or for a group."""

    row: SubsystemDefault
    group: str | None


@dataclass(frozen=True, slots=True)
class DefaultPage:
    """A page of defaults; `total` counts all that match, `more` says whether others follow."""

    rows: list[DefaultRow]
    total: int
    more: bool


class Defaults:
    """All defaults, for working out what holds for many hosts."""

    def __init__(self, rows: Sequence[SubsystemDefault]) -> None:
        self._fleet = {row.name: Layer("fleet", _set(row)) for row in rows if row.group_id is None}
        self._groups = {(row.group_id, row.name): row for row in rows if row.group_id is not None}

    def for_host(self, name: str, own: Mapping[str, Value | None], groups: Mapping[UUID, str]) -> InForce:
        """What holds for a host's subsystem.

        Args:
            name: of the subsystem.
            own: the host's own values, by the names of `FIELDS`.
            groups: the host's groups, id to name.
        """
        layers = [
            Layer(f"group:{group_name}", _set(row), row.priority)
            for group, group_name in groups.items()
            if (row := self._groups.get((group, name))) is not None
        ]
        return in_force(name, host=Layer("host", own), groups=layers, fleet=self._fleet.get(name))


def _set(row: Subsystem | SubsystemDefault) -> dict[str, Value | None]:
    return {field: getattr(row, field) for field in FIELDS}


async def read_defaults(session: AsyncSession, names: Collection[str] | None = None) -> Defaults:
    """All defaults, or those of some subsystems."""
    statement = select(SubsystemDefault)
    if names is not None:
        statement = statement.where(col(SubsystemDefault.name).in_(list(names)))
    return Defaults((await session.scalars(statement)).all())


async def host_subsystems(session: AsyncSession, agent_id: UUID) -> list[HostSubsystem]:
    """A host's subsystems by name; those it no longer names are left out."""
    statement = (
        select(Subsystem)
        .where(col(Subsystem.agent_id) == agent_id, col(Subsystem.present))
        .order_by(col(Subsystem.name))
    )
    rows = (await session.scalars(statement)).all()
    defaults = await read_defaults(session, [row.name for row in rows])
    groups = {ref.id: ref.name for ref in (await groups_of(session, [agent_id]))[agent_id]}
    return [HostSubsystem(row, defaults.for_host(row.name, _set(row), groups)) for row in rows]


async def change_host_subsystem(
    session: AsyncSession,
    agent_id: UUID,
    name: str,
    values: Mapping[str, Value | None],
    *,
    changed_by: str,
    at: datetime,
) -> bool:
    """Set a host's own values (None: back to the default), and have it planned anew; whether there is such a row."""
    statement = (
        update(Subsystem)
        .where(col(Subsystem.agent_id) == agent_id, col(Subsystem.name) == name, col(Subsystem.present))
        .values(**{field: values[field] for field in FIELDS if field in values})
        .values(changed_by=changed_by, changed_at=at, planned_rev=0)
        .returning(col(Subsystem.name))
    )
    return await session.scalar(statement) is not None


async def list_defaults(
    session: AsyncSession,
    *,
    name: str | None,
    group_id: UUID | None,
    fleet_only: bool,
    after: tuple[str, UUID] | None,
    limit: int,
) -> DefaultPage:
    """A page of defaults by subsystem and id."""
    filters = []
    if name is not None:
        filters.append(col(SubsystemDefault.name) == name)
    if group_id is not None:
        filters.append(col(SubsystemDefault.group_id) == group_id)
    if fleet_only:
        filters.append(col(SubsystemDefault.group_id).is_(None))
    total = await session.scalar(select(func.count()).select_from(SubsystemDefault).where(*filters))
    if after is not None:
        filters.append(tuple_(col(SubsystemDefault.name), col(SubsystemDefault.id)) > after)
    statement = (
        select(SubsystemDefault, col(AgentGroup.name))
        .outerjoin(AgentGroup, col(AgentGroup.id) == col(SubsystemDefault.group_id))
        .where(*filters, or_(col(SubsystemDefault.group_id).is_(None), col(AgentGroup.id).is_not(None)))
        .order_by(col(SubsystemDefault.name), col(SubsystemDefault.id))
        .limit(limit + 1)
    )
    found = [DefaultRow(row, group) for row, group in await session.execute(statement)]
    return DefaultPage(found[:limit], total or 0, len(found) > limit)


async def change_default(
    session: AsyncSession,
    *,
    new_id: UUID,
    name: str,
    group_id: UUID | None,
    values: Mapping[str, Value | None],
    priority: int | None,
    changed_by: str,
    at: datetime,
) -> SubsystemDefault | None:
    """Set values of a default (None: not set here); one that sets nothing any more is removed, and None returned."""
    await session.execute(text("UPDATE subsystem_revision SET revision = revision + 1 WHERE id = 1"))
    # The revision's row is locked now: changes of defaults come one after the other.
    same = and_(
        col(SubsystemDefault.name) == name,
        col(SubsystemDefault.group_id).is_(None)
        if group_id is None
        else col(SubsystemDefault.group_id) == group_id,
    )
    old = await session.scalar(select(SubsystemDefault).where(same))
    merged = {} if old is None else _set(old)
    merged.update({field: values[field] for field in FIELDS if field in values})
    await session.execute(delete(SubsystemDefault).where(same))
    if old is not None:
        session.expunge(old)
    if all(value is None for value in merged.values()):
        return None
    row = {
        "id": new_id if old is None else old.id,
        "name": name,
        "group_id": group_id,
        "priority": priority if priority is not None else (100 if old is None else old.priority),
        **merged,
        "changed_at": at,
        "changed_by": changed_by,
    }
    return (await session.scalars(insert(SubsystemDefault).values(row).returning(SubsystemDefault))).one()


async def replan_members(session: AsyncSession, group_id: UUID, agents: Collection[UUID]) -> None:
    """Have these hosts planned anew as far as a group's defaults say; they came into it or went out of it.

    Call it in the transaction that changes who is in the group.
    """
    if not agents:
        return
    names = select(col(SubsystemDefault.name)).where(col(SubsystemDefault.group_id) == group_id)
    await session.execute(
        update(Subsystem)
        .where(col(Subsystem.agent_id).in_(list(agents)), col(Subsystem.name).in_(names))
        .values(planned_rev=0)
    )


async def replan_group(session: AsyncSession, group_id: UUID) -> None:
    """Have everything planned anew when a group with defaults goes; call it before the group is deleted."""
    await session.execute(
        text(
            "UPDATE subsystem_revision SET revision = revision + 1 WHERE id = 1 "
            "AND EXISTS (SELECT FROM subsystem_default WHERE group_id = :group_id)"
        ),
        {"group_id": group_id},
    )
