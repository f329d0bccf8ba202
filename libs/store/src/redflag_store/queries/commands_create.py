"""Ask for commands: the one way a row of `command` comes to be.

Guarantees:

- All or nothing per call, inside a savepoint: a refusal leaves the caller's transaction as it was, usable.
- Only active agents; at most `MAX_PENDING_PER_AGENT` commands pending for each, whoever asks at the same time
  (the agents' rows are locked, in id order); one pending command per agent and dedupe key (a unique partial
  index, not a look before the insert).
- Each command has its first `command_event`, and a call sends one notice on `REQUESTED_CHANNEL`, at commit.
- Works with the dashboard's rights: state and source are left to the table's defaults, which is all that role
  may have; source `system` needs the dispatcher's.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.command_states import ServerState
from redflag_store.errors import StoreError
from redflag_store.queries.intents import IntentData, store_intent
from redflag_store.states import AgentState, CommandSource
from redflag_store.tables.commands import PENDING_SQL
from redflag_wire.clock import Clock
from redflag_wire.ids import new_id

MAX_PENDING_PER_AGENT: Final = 10
MAX_AGENTS_PER_CALL: Final = 10_000
REQUESTED_CHANNEL: Final = "redflag_requested"
_INSERT_TRIES: Final = 3  # a conflicting command may end between the insert and the look at it


class CommandRefusedError(StoreError):
    """A command was not created; `agent_id` is the (first) agent because of which."""

    def __init__(self, message: str, agent_id: UUID) -> None:
        super().__init__(message)
        self.agent_id = agent_id


class AgentNotActiveError(CommandRefusedError):
    """The agent may not get commands; `state` is None when there is no such agent."""

    def __init__(self, agent_id: UUID, state: str | None) -> None:
        super().__init__(f"agent {agent_id} is {state or 'unknown'}, not active", agent_id)
        self.state = state


class TooManyPendingError(CommandRefusedError):
    """The agent already has as many commands pending as are allowed."""

    def __init__(self, agent_id: UUID, limit: int = MAX_PENDING_PER_AGENT) -> None:
        super().__init__(f"agent {agent_id} has {limit} commands pending", agent_id)
        self.limit = limit


class AlreadyPendingError(CommandRefusedError):
    """The agent has a pending command with this dedupe key: `command_id`."""

    def __init__(self, agent_id: UUID, command_id: UUID) -> None:
        super().__init__(f"agent {agent_id} already has command {command_id} pending", agent_id)
        self.command_id = command_id


async def request_commands(
    session: AsyncSession,
    clock: Clock,
    *,
    intent: IntentData | None,
    agents: Sequence[UUID],
    kind: str,
    params: Mapping[str, Any],
    requested_by: str,
    op: UUID | None = None,
    dedupe_key: str | None = None,
    source: CommandSource | str = CommandSource.MANUAL,
    wave: int | None = None,
    retry_of: UUID | None = None,
    prev: UUID | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> list[UUID]:
    """Create one `requested` command of `kind` for each of `agents`; their ids, in the order of `agents`.

    The caller commits. `op` is the intent's correlation id unless given. `intent` is stored when it is not yet.

    Raises:
        AgentNotActiveError, AlreadyPendingError, TooManyPendingError: nothing was created.
        ValueError: no agents, an agent named twice, more than `MAX_AGENTS_PER_CALL`, or a manual command
            without an intent.
    """
    if not agents or len(agents) > MAX_AGENTS_PER_CALL or len(set(agents)) != len(agents):
        raise ValueError(f"agents must be 1 to {MAX_AGENTS_PER_CALL} different ids")
    source = CommandSource(source)
    if intent is None and source is not CommandSource.SYSTEM:
        raise ValueError("a manual command needs its intent")
    ids = {agent: new_id(clock, random) for agent in agents}
    shared = {
        "op": op or (intent.correlation_id if intent else None),
        "wave": wave,
        "kind": kind,
        "params": json.dumps(dict(params)),
        "intent_id": intent.id if intent else None,
        "retry_of": retry_of,
        "prev": prev,
        "dedupe_key": dedupe_key,
        "requested_by": requested_by,
        "at": clock.now(),
    }
    async with session.begin_nested():
        await _lock_active(session, agents)
        if intent is not None:
            await store_intent(session, clock, intent)
        await _insert(session, ids, shared, source)
        await _refuse_too_many(session, agents)
        await _record(session, clock, list(ids.values()), requested_by, random)
        await session.execute(
            text("SELECT pg_notify(:channel, :payload)"),
            {"channel": REQUESTED_CHANNEL, "payload": str(shared["op"] or "")},
        )
    return list(ids.values())


async def _lock_active(session: AsyncSession, agents: Sequence[UUID]) -> None:
    rows = await session.execute(
        text(
            "SELECT id, state FROM agent WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"
        ),
        {"ids": list(agents)},
    )
    states = {row.id: row.state for row in rows}
    for agent in agents:
        if states.get(agent) != AgentState.ACTIVE:
            raise AgentNotActiveError(agent, states.get(agent))


async def _insert(
    session: AsyncSession, ids: Mapping[UUID, UUID], shared: Mapping[str, Any], source: CommandSource
) -> None:
    # The dashboard may not write `source`, so it is named only where it differs from the default.
    extra_column, extra_value = (", source", ", 'system'") if source is CommandSource.SYSTEM else ("", "")
    statement = text(
        "INSERT INTO command (id, agent_id, op, wave, kind, params, intent_id, retry_of, prev, dedupe_key, "  # noqa: S608
        f"requested_by, requested_at{extra_column}) "
        "SELECT new.id, new.agent_id, CAST(:op AS uuid), CAST(:wave AS integer), :kind, CAST(:params AS jsonb), "
        "CAST(:intent_id AS uuid), CAST(:retry_of AS uuid), CAST(:prev AS uuid), CAST(:dedupe_key AS text), "
        f":requested_by, :at{extra_value} "
        "FROM unnest(CAST(:ids AS uuid[]), CAST(:agents AS uuid[])) AS new (id, agent_id) "
        f"ON CONFLICT (agent_id, dedupe_key) WHERE {PENDING_SQL} DO NOTHING RETURNING agent_id"
    )
    missing = dict(ids)
    for attempt in range(1, _INSERT_TRIES + 1):
        inserted = await session.scalars(
            statement, {**shared, "ids": list(missing.values()), "agents": list(missing.keys())}
        )
        for agent in inserted:
            del missing[agent]
        if not missing:
            return
        last_try = attempt == _INSERT_TRIES
        existing = await _existing(session, list(missing), shared["dedupe_key"], only_pending=not last_try)
        if existing is not None:
            raise AlreadyPendingError(*existing)


async def _existing(
    session: AsyncSession, agents: list[UUID], dedupe_key: str, *, only_pending: bool
) -> tuple[UUID, UUID] | None:
    pending = f"AND {PENDING_SQL} " if only_pending else ""
    found = await session.execute(
        text(
            "SELECT agent_id, id FROM command WHERE agent_id = ANY(CAST(:agents AS uuid[])) "  # noqa: S608
            f"AND dedupe_key = :dedupe_key {pending}ORDER BY requested_at DESC, id DESC LIMIT 1"
        ),
        {"agents": agents, "dedupe_key": dedupe_key},
    )
    row = found.one_or_none()
    return None if row is None else (row.agent_id, row.id)


async def _refuse_too_many(session: AsyncSession, agents: Sequence[UUID]) -> None:
    # Counted after the insert, so that a repeated request is told which command is there already.
    over = await session.scalar(
        text(
            f"SELECT agent_id FROM command WHERE agent_id = ANY(CAST(:agents AS uuid[])) AND {PENDING_SQL} "  # noqa: S608
            "GROUP BY agent_id HAVING count(*) > :limit ORDER BY agent_id LIMIT 1"
        ),
        {"agents": list(agents), "limit": MAX_PENDING_PER_AGENT},
    )
    if over is not None:
        raise TooManyPendingError(over)


async def _record(
    session: AsyncSession,
    clock: Clock,
    commands: list[UUID],
    requested_by: str,
    random: Callable[[int], bytes],
) -> None:
    await session.execute(
        text(
            "INSERT INTO command_event (id, command_id, at, to_state, cause, detail) "
            "SELECT new.id, new.command_id, :at, :state, 'requested', CAST(:detail AS jsonb) "
            "FROM unnest(CAST(:ids AS uuid[]), CAST(:commands AS uuid[])) AS new (id, command_id)"
        ),
        {
            "ids": [new_id(clock, random) for _ in commands],
            "commands": commands,
            "at": clock.now(),
            "state": ServerState.REQUESTED.value,
            "detail": json.dumps({"by": requested_by}),
        },
    )
