"""Cancels: a command of kind `cancel` that names another one; the dispatcher settles it (ARCHITECTURE.md 4).

The dashboard cannot change a command's state, so asking is an insert like any other. What is decided when: here,
only that the target is there and has no end; everything else by the signer, under the target's lock.
"""

import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.command_states import END_STATES, ServerState
from redflag_store.queries.commands_create import request_commands
from redflag_store.queries.intents import IntentData
from redflag_store.queries.refusals import CommandEndedError, NoSuchCommandError, NotForKindError
from redflag_store.tables import Command
from redflag_wire.clock import Clock
from redflag_wire.command_params import CommandKind

KEY_PREFIX: Final = "cancel:"


def dedupe_key(target: UUID) -> str:
    """Return the dedupe key of the cancel of `target`: one at a time."""
    return f"{KEY_PREFIX}{target}"


async def request_cancel(
    session: AsyncSession,
    clock: Clock,
    *,
    command_id: UUID,
    intent: IntentData,
    requested_by: str,
    op: UUID | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> UUID:
    """Ask that a command be cancelled; return the id of the cancel command.

    The caller commits. `intent` has the verb `cancel_command`, the target's agent as its only target and the
    parameters `{"cmd": "<id>"}`. The agent need not be active, and neither its pending limit nor its rate counts.

    Raises:
        NoSuchCommandError: there is no such command.
        CommandEndedError: it has ended; its `state` says how.
        NotForKindError: it is a cancel itself.
        AlreadyPendingError: its `command_id` is the cancel that is under way.
    """
    row = (
        await session.execute(
            select(col(Command.agent_id), col(Command.state), col(Command.kind)).where(
                col(Command.id) == command_id
            )
        )
    ).one_or_none()
    if row is None:
        raise NoSuchCommandError(command_id)
    if row.kind == CommandKind.CANCEL:
        raise NotForKindError(command_id, row.kind)
    if ServerState(row.state) in END_STATES:
        raise CommandEndedError(command_id, row.state)
    (cancel_id,) = await request_commands(
        session,
        clock,
        intent=intent,
        agents=[row.agent_id],
        kind=CommandKind.CANCEL.value,
        params={"cmd": str(command_id)},
        requested_by=requested_by,
        op=op,
        dedupe_key=dedupe_key(command_id),
        random=random,
    )
    return cancel_id
