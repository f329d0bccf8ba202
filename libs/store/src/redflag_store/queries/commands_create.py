"""Ask for commands: the one way a row of `command` comes to be.

Guarantees:

- Parameters fit the closed schema of their kind; only looking kinds are asked for by RedFlag itself.
- Only active agents; at most `MAX_PENDING_PER_AGENT` commands pending for each, whoever asks at the same time
  (the agents' rows are locked, in id order); no more than the agent's rate allows (`limits.agent_*`); one pending
  command per agent and dedupe key, and one retry per command (unique partial indexes, not a look before the insert).
- A cancel is asked for whatever the agent's standing, its pending commands and its rate.
- Each command has its first `command_event`, and a call sends one notice on `REQUESTED_CHANNEL`, at commit.
- Works with the dashboard's rights: state and source are left to the table's defaults, which is all that role
  may have; source `system` needs the dispatcher's.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.queries.commands_insert import (
    REQUESTED_CHANNEL,
    Outcome,
    RetryState,
    Wanted,
    insert_commands,
    record_requests,
    retry_states,
)
from redflag_store.queries.intents import IntentData, store_intent
from redflag_store.queries.rate_limits import take_for_agents
from redflag_store.queries.refusals import (
    AgentNotActiveError,
    AlreadyPendingError,
    AlreadyRetriedError,
    CommandRefusedError,
    DepthError,
    RateLimitedError,
    TooManyPendingError,
)
from redflag_store.queries.settings import read_settings
from redflag_store.states import AgentState, CommandSource
from redflag_store.tables.commands import PENDING_SQL
from redflag_wire.clock import Clock
from redflag_wire.command_params import LOOKING_KINDS, CommandKind, parse_params

__all__ = [
    "MAX_AGENTS_PER_CALL",
    "MAX_PENDING_PER_AGENT",
    "MAX_RETRY_DEPTH",
    "REQUESTED_CHANNEL",
    "AgentNotActiveError",
    "AlreadyPendingError",
    "AlreadyRetriedError",
    "CommandRefusedError",
    "DepthError",
    "Outcome",
    "RateLimitedError",
    "TooManyPendingError",
    "Wanted",
    "create_each",
    "request_commands",
]

MAX_PENDING_PER_AGENT: Final = 10
MAX_AGENTS_PER_CALL: Final = 10_000
MAX_RETRY_DEPTH: Final = 10  # retries of retries in a row


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

    The caller commits. `op` is the intent's correlation id unless given. `intent` is stored when it is not yet. All
    or nothing: a refusal leaves the caller's transaction as it was, usable.

    Raises:
        AgentNotActiveError, AlreadyPendingError, TooManyPendingError, RateLimitedError, AlreadyRetriedError,
            DepthError: nothing was created.
        NoSuchCommandError: `retry_of` names none.
        SchemaRefusedError: the parameters do not fit the kind.
        ValueError: no such kind; no agents, an agent named twice, more than `MAX_AGENTS_PER_CALL`, or more than one
            to retry; a manual command without an intent; a system command with one, or of a kind that changes hosts.
    """
    if not agents or len(agents) > MAX_AGENTS_PER_CALL or len(set(agents)) != len(agents):
        raise ValueError(f"agents must be 1 to {MAX_AGENTS_PER_CALL} different ids")
    if retry_of is not None and len(agents) != 1:
        raise ValueError("a retry is for one agent")
    checked = CommandKind(kind)
    source = CommandSource(source)
    _check_source(source, checked, has_intent=intent is not None)
    parse_params(checked, params)
    written = json.dumps(dict(params))
    wanted = [
        Wanted(
            agent_id=agent,
            kind=checked,
            params=written,
            intent_id=intent.id if intent else None,
            op=op or (intent.correlation_id if intent else None),
            dedupe_key=dedupe_key,
            requested_by=requested_by,
            wave=wave,
            retry_of=retry_of,
            prev=prev,
        )
        for agent in agents
    ]
    async with session.begin_nested():
        if intent is not None:
            await store_intent(session, clock, intent)
        outcomes = await create_each(session, clock, wanted, source=source, random=random)
        for outcome in outcomes:
            if isinstance(outcome, CommandRefusedError):
                raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, UUID)]


def _check_source(source: CommandSource, kind: CommandKind, *, has_intent: bool) -> None:
    if has_intent == (source is CommandSource.SYSTEM):
        raise ValueError("a manual command needs its intent, a system command has none")
    if source is CommandSource.SYSTEM and kind not in LOOKING_KINDS:
        raise ValueError(f"RedFlag itself does not ask for {kind}")


async def create_each(
    session: AsyncSession,
    clock: Clock,
    wanted: Sequence[Wanted],
    *,
    source: CommandSource = CommandSource.MANUAL,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> list[Outcome]:
    """Create what can be created; for each the new command's id, or the error that says why not.

    The caller commits, has stored the intents, and has checked the parameters. Every agent stands in `wanted` once.

    Raises:
        NoSuchCommandError: a `retry_of` names no command.
        ValueError: an agent is named twice.
    """
    agents = sorted({one.agent_id for one in wanted})
    if len(agents) != len(wanted):
        raise ValueError("an agent is named twice")
    now = clock.now()
    states = await _lock_agents(session, agents)
    pending = await _pending(session, agents)
    retried = await retry_states(session, [one.retry_of for one in wanted if one.retry_of is not None])
    outcomes: dict[UUID, Outcome] = {}
    for one in wanted:
        refusal = _refusal(one, states.get(one.agent_id), pending[one.agent_id], retried)
        if refusal is not None:
            outcomes[one.agent_id] = refusal
    outcomes.update(
        await _rate_refusals(
            session,
            [one for one in wanted if one.agent_id not in outcomes],
            now,
            own=source is CommandSource.SYSTEM,
        )
    )
    todo = [one for one in wanted if one.agent_id not in outcomes]
    made = await insert_commands(
        session,
        clock,
        todo,
        retried={key: one.depth for key, one in retried.items()},
        source=source,
        random=random,
    )
    outcomes.update(made)
    await record_requests(
        session, clock, [one for one in todo if isinstance(made[one.agent_id], UUID)], made, random
    )
    return [outcomes[one.agent_id] for one in wanted]


async def _lock_agents(session: AsyncSession, agents: Sequence[UUID]) -> dict[UUID, str]:
    rows = await session.execute(
        text(
            "SELECT id, state FROM agent WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"
        ),
        {"ids": list(agents)},
    )
    return {row.id: row.state for row in rows}


@dataclass(frozen=True, slots=True)
class _Pending:
    keys: Mapping[str, UUID]  # dedupe key -> command
    counted: int  # without cancels


async def _pending(session: AsyncSession, agents: Sequence[UUID]) -> defaultdict[UUID, _Pending]:
    connection = await driver_connection(session)
    rows = await connection.fetch(
        f"SELECT agent_id, id, kind, dedupe_key FROM command WHERE agent_id = ANY($1::uuid[]) AND {PENDING_SQL}",  # noqa: S608
        list(agents),
    )
    keys: defaultdict[UUID, dict[str, UUID]] = defaultdict(dict)
    counted: defaultdict[UUID, int] = defaultdict(int)
    for row in rows:
        if row["dedupe_key"] is not None:
            keys[row["agent_id"]][row["dedupe_key"]] = row["id"]
        counted[row["agent_id"]] += row["kind"] != CommandKind.CANCEL
    found: defaultdict[UUID, _Pending] = defaultdict(lambda: _Pending({}, 0))
    for agent in keys.keys() | counted.keys():
        found[agent] = _Pending(keys[agent], counted[agent])
    return found


def _refusal(
    one: Wanted, state: str | None, pending: _Pending, retried: Mapping[UUID, RetryState]
) -> CommandRefusedError | None:
    agent = one.agent_id
    cancels = one.kind is CommandKind.CANCEL
    if state is None or (state != AgentState.ACTIVE and not cancels):
        return AgentNotActiveError(agent, state)
    if one.retry_of is not None:
        source = retried[one.retry_of]
        if source.by is not None:
            return AlreadyRetriedError(agent, one.retry_of, source.by)
        if source.depth >= MAX_RETRY_DEPTH:
            return DepthError(agent, one.retry_of, MAX_RETRY_DEPTH)
    if one.dedupe_key is not None and one.dedupe_key in pending.keys:
        return AlreadyPendingError(agent, pending.keys[one.dedupe_key])
    if not cancels and pending.counted >= MAX_PENDING_PER_AGENT:
        return TooManyPendingError(agent, MAX_PENDING_PER_AGENT)
    return None


async def _rate_refusals(
    session: AsyncSession, wanted: Sequence[Wanted], now: datetime, *, own: bool
) -> dict[UUID, CommandRefusedError]:
    counted = {one.agent_id: 1 for one in wanted if one.kind is not CommandKind.CANCEL}
    if not counted:
        return {}
    grants = await take_for_agents(session, await read_settings(session), counted, now, own=own)
    return {agent: RateLimitedError(agent, one.wait_s) for agent, one in grants.items() if one.count == 0}
