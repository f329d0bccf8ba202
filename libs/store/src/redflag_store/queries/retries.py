"""Manual retries: an ended command is done again as a new one, once, and at most ten times in a row.

Doing again is a new command with `retry_of` (docs/protocol.md 5); the unique index over `retry_of` makes the second
click find the first. What the retry asks for is the caller's to sign: `retry_of` only says what it was.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.command_states import END_STATES, ServerState
from redflag_store.queries.commands_create import MAX_RETRY_DEPTH
from redflag_store.queries.refusals import (
    AlreadyRetriedError,
    DepthError,
    NoSuchCommandError,
    NotEndedError,
    NotForKindError,
)
from redflag_store.tables import Command
from redflag_wire.command_params import CommandKind


@dataclass(frozen=True, slots=True)
class RetrySource:
    """What is to be done again.

    Attributes:
        agent_id: for which host.
        kind: of the command.
        params: of the command.
        dedupe_key: of the command.
        depth: how many retries led to it; the new one's is one more.
    """

    agent_id: UUID
    kind: str
    params: dict[str, Any]
    dedupe_key: str | None
    depth: int


async def retry_of(session: AsyncSession, command_id: UUID) -> RetrySource:
    """Return what a retry of this command is; ask for it with `request_commands(..., retry_of=command_id)`.

    Raises:
        NoSuchCommandError: there is no such command.
        NotForKindError: it is a cancel.
        NotEndedError: it is still under way.
        AlreadyRetriedError: its `by` is the retry that is there.
        DepthError: it is the last of `MAX_RETRY_DEPTH` retries in a row.
    """
    command = await session.scalar(select(Command).where(col(Command.id) == command_id))
    if command is None:
        raise NoSuchCommandError(command_id)
    if command.kind == CommandKind.CANCEL:
        raise NotForKindError(command_id, command.kind)
    if ServerState(command.state) not in END_STATES:
        raise NotEndedError(command_id, command.state)
    by = await session.scalar(select(col(Command.id)).where(col(Command.retry_of) == command_id))
    if by is not None:
        raise AlreadyRetriedError(command.agent_id, command_id, by)
    if command.retry_depth >= MAX_RETRY_DEPTH:
        raise DepthError(command.agent_id, command_id, MAX_RETRY_DEPTH)
    return RetrySource(
        command.agent_id, command.kind, command.params, command.dedupe_key, command.retry_depth
    )
