"""Commands as operators follow them: lists, one with its timeline, and just its state for those who wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from redflag_store.command_states import END_STATES, ServerState
from redflag_store.queries.host_filter import HostFilter, conditions
from redflag_store.queries.tallies import tally_of
from redflag_store.tables import Agent, Command, CommandEvent
from redflag_wire.command_params import CommandKind

EVENTS_MAX: Final = 500  # of one command in one answer; a legal life has about ten


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command and what it is linked to; the signed bytes and the output are loaded only with `get_command`.

    Attributes:
        command: the row.
        hostname: name of its host.
        retried_by: the command that was asked for in its stead.
        target_kind: of the command that a cancel is for.
    """

    command: Command
    hostname: str
    retried_by: UUID | None = None
    target_kind: str | None = None


@dataclass(frozen=True, slots=True)
class CommandFilter:
    """What to list; None means no filter, and all that is given must hold.

    Attributes:
        agent_id: of this host.
        hosts: of the hosts that this filter means.
        state: standing of the command.
        kind: of the command.
        source: who asked: an operator or RedFlag itself.
        op: correlation id.
        pending: True: those without an end, False: those with one.
        retry_of: the command it was asked for in the stead of.
        since: asked for at this time or later.
        until: asked for before this time.
    """

    agent_id: UUID | None = None
    hosts: HostFilter | None = None
    state: str | None = None
    kind: str | None = None
    source: str | None = None
    op: UUID | None = None
    pending: bool | None = None
    retry_of: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CommandPage:
    """A page of commands, newest first; `total` counts all that match, `more` says whether others follow."""

    rows: list[CommandRow]
    total: int
    more: bool


async def filters_of(session: AsyncSession, wanted: CommandFilter) -> list[ColumnElement[bool]]:
    """The conditions a filter stands for."""
    equal = (
        (Command.agent_id, wanted.agent_id),
        (Command.state, wanted.state),
        (Command.kind, wanted.kind),
        (Command.source, wanted.source),
        (Command.op, wanted.op),
        (Command.retry_of, wanted.retry_of),
    )
    filters: list[ColumnElement[bool]] = [
        col(column) == value for column, value in equal if value is not None
    ]
    if wanted.hosts is not None and not wanted.hosts.is_empty:
        meant = select(col(Agent.id)).where(*await conditions(session, wanted.hosts))
        filters.append(col(Command.agent_id).in_(meant))
    if wanted.since is not None:
        filters.append(col(Command.requested_at) >= wanted.since)
    if wanted.until is not None:
        filters.append(col(Command.requested_at) < wanted.until)
    if wanted.pending is not None:
        # As a list of what is meant: an index serves that, and not its opposite.
        meant_states = set(ServerState) - END_STATES if wanted.pending else END_STATES
        filters.append(col(Command.state).in_(sorted(meant_states)))
    return filters


def _light() -> Select[Command, str]:
    big: list[Any] = [Command.envelope, Command.stdout, Command.stderr]
    return (
        select(Command, col(Agent.hostname))
        .options(*(defer(column, raiseload=True) for column in big))
        .join(Agent, col(Agent.id) == col(Command.agent_id))
    )


async def list_commands(
    session: AsyncSession, wanted: CommandFilter, *, after: tuple[datetime, UUID] | None, limit: int
) -> CommandPage:
    """A page of commands, newest first."""
    filters = await filters_of(session, wanted)
    total = await _total(session, wanted, filters)
    statement = await commands_statement(session, wanted)
    if after is not None:
        statement = statement.where(tuple_(col(Command.requested_at), col(Command.id)) < after)
    found = (await session.execute(statement.limit(limit + 1))).all()
    rows = await with_links(session, [(row[0], row[1]) for row in found[:limit]])
    return CommandPage(rows, total or 0, len(found) > limit)


async def _total(session: AsyncSession, wanted: CommandFilter, filters: list[ColumnElement[bool]]) -> int:
    """How many match: by the counters where only state and kind matter, else by an index."""
    if wanted != CommandFilter(state=wanted.state, kind=wanted.kind, pending=wanted.pending):
        return await session.scalar(select(func.count()).select_from(Command).where(*filters)) or 0
    states = {one.value for one in ServerState} if wanted.state is None else {wanted.state}
    if wanted.pending is not None:
        states = {one for one in states if (one in END_STATES) is not wanted.pending}
    return await tally_of(session, "command", a=states, b=wanted.kind)


async def commands_statement(session: AsyncSession, wanted: CommandFilter) -> Select[Command, str]:
    """Commands without their bytes and output, and their hosts' names, newest first."""
    statement = _light().where(*await filters_of(session, wanted))
    return statement.order_by(col(Command.requested_at).desc(), col(Command.id).desc())


async def with_links(session: AsyncSession, rows: Sequence[tuple[Command, str]]) -> list[CommandRow]:
    """Commands and their hosts' names, with what they are linked to."""
    retries: dict[UUID | None, UUID] = {}
    kinds: dict[str, str] = {}
    ids = [command.id for command, _ in rows]
    if ids:
        found = await session.execute(
            select(col(Command.retry_of), col(Command.id)).where(col(Command.retry_of).in_(ids))
        )
        retries = {row[0]: row[1] for row in found}
    targets = [target for command, _ in rows if (target := target_of(command)) is not None]
    if targets:
        named = await session.execute(
            select(col(Command.id), col(Command.kind)).where(col(Command.id).in_(targets))
        )
        kinds = {str(row[0]): row[1] for row in named}
    return [
        CommandRow(command, hostname, retries.get(command.id), kinds.get(str(target_of(command))))
        for command, hostname in rows
    ]


def target_of(command: Command) -> UUID | None:
    """The command that a cancel is for; None for other kinds."""
    if command.kind != CommandKind.CANCEL:
        return None
    try:
        return UUID(str(command.params.get("cmd")))
    except ValueError:
        return None


async def get_command(session: AsyncSession, command_id: UUID) -> CommandRow | None:
    """One command, whole."""
    statement = (
        select(Command, col(Agent.hostname))
        .join(Agent, col(Agent.id) == col(Command.agent_id))
        .where(col(Command.id) == command_id)
    )
    row = (await session.execute(statement)).first()
    if row is None:
        return None
    (found,) = await with_links(session, [(row[0], row[1])])
    return found


async def cancel_of(session: AsyncSession, command: Command) -> Command | None:
    """The newest command that cancels this one, without its bytes and output."""
    statement = (
        _light()
        .where(
            col(Command.agent_id) == command.agent_id,
            col(Command.kind) == CommandKind.CANCEL.value,
            col(Command.params)["cmd"].astext == str(command.id),
            col(Command.requested_at) >= command.requested_at,
        )
        .order_by(col(Command.requested_at).desc(), col(Command.id).desc())
        .limit(1)
    )
    row = (await session.execute(statement)).first()
    return None if row is None else row[0]


async def command_state(session: AsyncSession, command_id: UUID) -> str | None:
    """The state of a command; None when there is no such command."""
    return await session.scalar(select(col(Command.state)).where(col(Command.id) == command_id))


async def command_timeline(session: AsyncSession, command_id: UUID) -> list[CommandEvent]:
    """What happened to a command, oldest first."""
    statement = (
        select(CommandEvent)
        .where(col(CommandEvent.command_id) == command_id)
        .order_by(col(CommandEvent.at), col(CommandEvent.id))
        .limit(EVENTS_MAX)
    )
    return list((await session.scalars(statement)).all())
