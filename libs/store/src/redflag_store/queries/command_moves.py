"""Move commands from state to state: the one way `command.state` changes.

Guarantees:

- The row is locked while the move is judged, so two movers cannot both be right; only the moves of
  `redflag_store.command_states` pass.
- Each move is one row of `command_event` with server time and cause, and one notice on `CHANGE_CHANNEL` at
  commit; the time of entering a state is kept on the command as well.
- What was signed is written once, with the move to `signed`, and never again.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.command_states import (
    END_STATES,
    LATE_REPORT,
    IllegalMoveError,
    ServerState,
    is_provisional,
    letter_of,
    route,
)
from redflag_store.errors import StoreError
from redflag_store.tables.commands import Command, CommandEvent
from redflag_wire.clock import Clock
from redflag_wire.ids import new_id

CHANGE_CHANNEL: Final = "redflag_change"

SIGNED_FIELDS: Final = frozenset({"seq", "envelope", "digest", "nbf", "exp"})
"""Columns that only the move to `signed` may write."""

FREE_FIELDS: Final = frozenset(
    {
        "result", "agent_started_at", "agent_finished_at", "deliveries", "code", "error", "plan_digest",
        "summary", "exit_code", "stdout", "stderr", "duration_ms",
    }
)  # fmt: skip
"""Columns that any move may write."""

_ENTERED: Final = {
    ServerState.SIGNED: "signed_at",
    ServerState.QUEUED: "queued_at",
    ServerState.DELIVERED: "delivered_at",
    ServerState.RUNNING: "started_at",
    **dict.fromkeys(END_STATES, "finished_at"),
}


class CommandNotFoundError(StoreError):
    """There is no such command."""

    def __init__(self, command_id: UUID) -> None:
        super().__init__(f"there is no command {command_id}")
        self.command_id = command_id


async def move_command(
    session: AsyncSession,
    clock: Clock,
    command_id: UUID,
    to_state: ServerState | str,
    cause: str,
    *,
    skip_ahead: bool = False,
    agent_at: datetime | None = None,
    detail: Mapping[str, Any] | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
    **fields: Any,  # noqa: ANN401  # columns of Command
) -> ServerState:
    """Move a command to `to_state`, writing `fields` with it; returns the state it was in.

    The caller commits.

    Args:
        session: inside the caller's transaction.
        clock: server time of the move.
        command_id: which command.
        to_state: where it goes.
        cause: short constant name, for example `puback` or `report`; `late_report` is the one cause that may
            replace a provisional end state.
        skip_ahead: pass through the states that a host's word implies, one event each
            (`redflag_store.command_states.route`).
        agent_at: the host's own time of it.
        detail: kept with the event.
        random: source of the event ids.
        **fields: columns of `command` from `FREE_FIELDS`, and from `SIGNED_FIELDS` when moving to `signed`.

    Raises:
        CommandNotFoundError: no such command.
        IllegalMoveError: the state it is in does not lead there; nothing was written.
        TypeError: a field that a move may not write.
    """
    target = ServerState(to_state)
    allowed = FREE_FIELDS | SIGNED_FIELDS if target is ServerState.SIGNED else FREE_FIELDS
    if not fields.keys() <= allowed:
        raise TypeError(f"a move to {target} may not write {', '.join(sorted(fields.keys() - allowed))}")
    at = clock.now()
    start, code = await _locked_state(session, command_id)
    if start in END_STATES and not (cause == LATE_REPORT and is_provisional(start, code)):
        raise IllegalMoveError(start, target)
    steps = route(start, target) if skip_ahead else (target,)
    here = start
    events: list[dict[str, Any]] = []
    for step in steps:
        letter = letter_of(here, step)
        last = step is steps[-1]
        events.append(
            {
                "id": new_id(clock, random),
                "command_id": command_id,
                "at": at,
                "agent_at": agent_at if last else None,
                "from_state": here.value,
                "to_state": step.value,
                "cause": cause,
                "detail": {**(detail or {}), "letter": letter}
                if last
                else {"letter": letter, "implied": True},
            }
        )
        here = step
    entered = {_ENTERED[step]: at for step in steps if step in _ENTERED}
    await session.execute(
        update(Command).where(col(Command.id) == command_id).values(state=target.value, **entered, **fields),
        execution_options={"synchronize_session": False},
    )
    await session.execute(insert(CommandEvent), events)
    await _notify(session, command_id)
    return start


async def remark_command(
    session: AsyncSession,
    clock: Clock,
    command_id: UUID,
    cause: str,
    *,
    agent_at: datetime | None = None,
    detail: Mapping[str, Any] | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    """Write an event that is no move, for example a delivery; the state stays.

    Raises:
        CommandNotFoundError: no such command.
    """
    state, _ = await _locked_state(session, command_id)
    event = {
        "id": new_id(clock, random),
        "command_id": command_id,
        "at": clock.now(),
        "agent_at": agent_at,
        "from_state": state.value,
        "to_state": state.value,
        "cause": cause,
        "detail": dict(detail or {}),
    }
    await session.execute(insert(CommandEvent), [event])
    await _notify(session, command_id)


async def _locked_state(session: AsyncSession, command_id: UUID) -> tuple[ServerState, str | None]:
    row = (
        await session.execute(
            select(col(Command.state), col(Command.code))
            .where(col(Command.id) == command_id)
            .with_for_update(key_share=True)
        )
    ).one_or_none()
    if row is None:
        raise CommandNotFoundError(command_id)
    return ServerState(row.state), row.code


async def _notify(session: AsyncSession, command_id: UUID) -> None:
    payload = json.dumps({"kind": "command", "id": str(command_id)})
    await session.execute(select(func.pg_notify(CHANGE_CHANNEL, payload)))
