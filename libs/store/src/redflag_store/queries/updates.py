"""Available updates: lists with counts over everything, and the operator's word on them.

A package waits in `checking_dependencies` or `installing` for the command it points at, and whoever ends that
command moves it on. What is shown is worked out from both: such a package whose command has its end is shown as
what it was before. So nothing is shown as running for ever, whatever became of the command.

Guarantees: an approval is for the candidate that stands in the database while the host's row is locked, never
for another version than the one asked for.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.command_states import END_STATES
from redflag_store.queries.like import contains
from redflag_store.states import PackageUpdateState, UpdateEventKind
from redflag_store.tables import Agent, Approval, Command, PackageState, UpdateEvent
from redflag_wire.clock import Clock
from redflag_wire.ids import new_id

S: Final = PackageUpdateState

AT_REST: Final = frozenset({S.UPDATED, S.REJECTED, S.IGNORED})
"""Stored states in which an operator's approval has nothing to hold on to."""

_RUNNING: Final = and_(col(Command.id).is_not(None), col(Command.state).not_in(sorted(END_STATES)))

SHOWN_STATE: Final[ColumnElement[Any]] = case(
    (and_(_RUNNING, col(Command.kind) == "install_updates"), S.INSTALLING.value),
    (and_(_RUNNING, col(Command.kind) == "dry_run_update"), S.CHECKING_DEPENDENCIES.value),
    (
        col(PackageState.state).in_([S.INSTALLING.value, S.CHECKING_DEPENDENCIES.value]),
        case(
            (col(PackageState.approved_version) == col(PackageState.candidate), S.APPROVED.value),
            else_=S.PENDING.value,
        ),
    ),
    else_=col(PackageState.state),
)
"""The state to show, over package_state left-joined to its command."""


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """An update, the host it is for, and the state to show."""

    package: PackageState
    hostname: str
    state: str


@dataclass(frozen=True, slots=True)
class UpdateFilter:
    """What to list; None means no filter.

    Attributes:
        agent_id: of one host.
        state: the state shown; without one, `updated` is left out.
        security: only (or never) security updates.
        name: text the package's name contains.
    """

    agent_id: UUID | None = None
    state: str | None = None
    security: bool | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class UpdatePage:
    """A page of updates; `total` counts all that match, `more` says whether others follow."""

    rows: list[UpdateRow]
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class UpdateCounts:
    """Counts over everything the host and name filters leave, whatever state or page is looked at.

    Attributes:
        by_state: shown state -> count, `updated` included.
        security: security updates that are not at rest.
        held_back: not at rest, but held, kept back or phased by the package manager.
        hosts: hosts with at least one update not at rest.
    """

    by_state: Mapping[str, int]
    security: int
    held_back: int
    hosts: int


def _joined(statement: Select[Any]) -> Select[Any]:
    return statement.join(Agent, col(Agent.id) == col(PackageState.agent_id)).outerjoin(
        Command, col(Command.id) == col(PackageState.command_id)
    )


def _scope(wanted: UpdateFilter) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if wanted.agent_id is not None:
        filters.append(col(PackageState.agent_id) == wanted.agent_id)
    if wanted.name:
        filters.append(contains(col(PackageState.name), wanted.name))
    return filters


async def list_updates(
    session: AsyncSession, wanted: UpdateFilter, *, after: tuple[str, str, str, UUID] | None, limit: int
) -> UpdatePage:
    """A page of updates by (name, manager, architecture, host)."""
    filters = _scope(wanted)
    if wanted.state is None:
        filters.append(col(PackageState.state) != S.UPDATED.value)
    else:
        filters.append(SHOWN_STATE.in_([wanted.state]))
    if wanted.security is not None:
        filters.append(col(PackageState.security).is_(wanted.security))
    total = await session.scalar(_joined(select(func.count()).select_from(PackageState)).where(*filters))
    key = (
        col(PackageState.name),
        col(PackageState.manager),
        col(PackageState.arch),
        col(PackageState.agent_id),
    )
    statement = _joined(select(PackageState, col(Agent.hostname), SHOWN_STATE)).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(*key) > after)
    found = (await session.execute(statement.order_by(*key).limit(limit + 1))).all()
    return UpdatePage([UpdateRow(*row) for row in found[:limit]], total or 0, len(found) > limit)


async def count_updates(session: AsyncSession, wanted: UpdateFilter) -> UpdateCounts:
    """The counts; state, security and page of `wanted` do not narrow them."""
    filters = _scope(wanted)
    by_state = await session.execute(
        _joined(select(SHOWN_STATE, func.count()).select_from(PackageState))
        .where(*filters)
        .group_by(SHOWN_STATE)
    )
    open_ = col(PackageState.state).not_in([S.UPDATED.value, S.IGNORED.value, S.REJECTED.value])
    security, held_back, hosts = (
        await session.execute(
            select(
                func.count().filter(col(PackageState.security)),
                func.count().filter(col(PackageState.availability) != "available"),
                func.count(func.distinct(col(PackageState.agent_id))),
            )
            .select_from(PackageState)
            .where(open_, *filters)
        )
    ).one()
    return UpdateCounts({row[0]: row[1] for row in by_state}, security, held_back, hosts)


async def updates_of_host(
    session: AsyncSession, agent_id: UUID, names: Collection[str] | None = None
) -> list[UpdateRow]:
    """The updates of one host that are not `updated`, at most the 20,000 an inventory may list.

    Args:
        session: to read with.
        agent_id: the host.
        names: only of these package names; None for all.
    """
    statement = _joined(select(PackageState, col(Agent.hostname), SHOWN_STATE)).where(
        col(PackageState.agent_id) == agent_id, col(PackageState.state) != S.UPDATED.value
    )
    if names is not None:
        statement = statement.where(col(PackageState.name).in_(list(names)))
    key = (col(PackageState.manager), col(PackageState.name), col(PackageState.arch))
    # What a bulk statement of the same session changed is read again, not remembered.
    fresh = {"populate_existing": True}
    found = await session.execute(statement.order_by(*key), execution_options=fresh)
    return [UpdateRow(*row) for row in found.all()]


def _running(*kinds: str) -> ColumnElement[bool]:
    """Whether the command a package points at is one of `kinds` and has no end yet."""
    return (
        select(col(Command.id))
        .where(
            col(Command.id) == col(PackageState.command_id),
            col(Command.kind).in_(kinds),
            col(Command.state).not_in(sorted(END_STATES)),
        )
        .correlate(PackageState)
        .exists()
    )


async def approve(
    session: AsyncSession,
    clock: Clock,
    rows: Sequence[PackageState],
    *,
    operator: str,
    intent_id: UUID,
    random: Callable[[int], bytes],
) -> None:
    """Approve these updates of one host at their candidates; the caller holds the host's lock and commits."""
    if not rows:
        return
    now = clock.now()
    agent_id = rows[0].agent_id
    keys = [(row.manager, row.name, row.arch) for row in rows]
    await session.execute(
        update(PackageState)
        .where(
            col(PackageState.agent_id) == agent_id,
            tuple_(col(PackageState.manager), col(PackageState.name), col(PackageState.arch)).in_(keys),
        )
        .values(
            # A package that a command works on goes on waiting for it.
            state=case(
                (_running("install_updates", "dry_run_update"), col(PackageState.state)),
                else_=S.APPROVED.value,
            ),
            approved_version=col(PackageState.candidate),
            changed_at=now,
        ),
        execution_options={"synchronize_session": False},
    )
    await session.execute(
        insert(Approval).on_conflict_do_nothing(
            index_elements=["agent_id", "manager", "name", "arch", "version"],
            index_where=col(Approval.lapsed_at).is_(None),
        ),
        [
            {
                "id": new_id(clock, random),
                "agent_id": agent_id,
                "manager": row.manager,
                "name": row.name,
                "arch": row.arch,
                "version": row.candidate,
                "operator": operator,
                "intent_id": intent_id,
                "at": now,
            }
            for row in rows
        ],
    )
    await session.execute(
        insert(UpdateEvent),
        [
            {
                "id": new_id(clock, random),
                "at": now,
                "agent_id": agent_id,
                "manager": row.manager,
                "name": row.name,
                "arch": row.arch,
                "kind": UpdateEventKind.APPROVED.value,
                "from_version": row.installed,
                "to_version": row.candidate,
                "detail": {"operator": operator},
            }
            for row in rows
        ],
    )


async def wait_for_command(
    session: AsyncSession,
    agent_id: UUID,
    packages: Sequence[tuple[str, str, str]],
    command_id: UUID,
    *,
    state: PackageUpdateState,
    at: datetime,
) -> None:
    """Let these packages (manager, name, architecture) of a host wait for what `command_id` does with them.

    A package that a running installation works on goes on waiting for that one.
    """
    await session.execute(
        update(PackageState)
        .where(
            col(PackageState.agent_id) == agent_id,
            tuple_(col(PackageState.manager), col(PackageState.name), col(PackageState.arch)).in_(
                list(packages)
            ),
            ~_running("install_updates"),
        )
        .values(state=state.value, command_id=command_id, changed_at=at),
        execution_options={"synchronize_session": False},
    )


async def note_confirmation(
    session: AsyncSession, agent_id: UUID, plan_command_id: UUID, at: datetime
) -> None:
    """Move on the packages that waited for a person's word on the plan this dry run made."""
    approved = col(PackageState.approved_version) == col(PackageState.candidate)
    await session.execute(
        update(PackageState)
        .where(
            col(PackageState.agent_id) == agent_id,
            col(PackageState.command_id) == plan_command_id,
            col(PackageState.state) == S.PENDING_DEPENDENCIES.value,
        )
        .values(state=case((approved, S.APPROVED.value), else_=S.PENDING.value), changed_at=at),
        execution_options={"synchronize_session": False},
    )
