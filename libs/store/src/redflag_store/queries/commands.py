"""Commands as operators follow them: lists, one with its timeline, and just its state for those who wait."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from redflag_store.command_states import END_STATES
from redflag_store.tables import Agent, Command, CommandEvent

EVENTS_MAX: Final = 500  # of one command in one answer; a legal life has about ten


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command and its host's name; the signed bytes and the output are loaded only with `get_command`."""

    command: Command
    hostname: str


@dataclass(frozen=True, slots=True)
class CommandFilter:
    """What to list; None means no filter. `pending` True: those without an end, False: those with one."""

    agent_id: UUID | None = None
    state: str | None = None
    kind: str | None = None
    op: UUID | None = None
    pending: bool | None = None


@dataclass(frozen=True, slots=True)
class CommandPage:
    """A page of commands, newest first; `total` counts all that match, `more` says whether others follow."""

    rows: list[CommandRow]
    total: int
    more: bool


def filters_of(wanted: CommandFilter) -> list[ColumnElement[bool]]:
    """The conditions a filter stands for."""
    filters: list[ColumnElement[bool]] = []
    if wanted.agent_id is not None:
        filters.append(col(Command.agent_id) == wanted.agent_id)
    if wanted.state is not None:
        filters.append(col(Command.state) == wanted.state)
    if wanted.kind is not None:
        filters.append(col(Command.kind) == wanted.kind)
    if wanted.op is not None:
        filters.append(col(Command.op) == wanted.op)
    if wanted.pending is not None:
        ended = sorted(END_STATES)
        filters.append(col(Command.state).not_in(ended) if wanted.pending else col(Command.state).in_(ended))
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
    filters = filters_of(wanted)
    total = await session.scalar(select(func.count()).select_from(Command).where(*filters))
    statement = _light().where(*filters)
    if after is not None:
        statement = statement.where(tuple_(col(Command.requested_at), col(Command.id)) < after)
    statement = statement.order_by(col(Command.requested_at).desc(), col(Command.id).desc())
    found = (await session.execute(statement.limit(limit + 1))).all()
    return CommandPage([CommandRow(*row) for row in found[:limit]], total or 0, len(found) > limit)


async def get_command(session: AsyncSession, command_id: UUID) -> CommandRow | None:
    """One command, whole."""
    statement = (
        select(Command, col(Agent.hostname))
        .join(Agent, col(Agent.id) == col(Command.agent_id))
        .where(col(Command.id) == command_id)
    )
    row = (await session.execute(statement)).first()
    return None if row is None else CommandRow(*row)


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
