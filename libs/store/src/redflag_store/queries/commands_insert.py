"""Insert commands: rows, their first events, and the notice to the signer. What may be inserted is `commands_create`'s.

Guarantees: the unique indexes have the last word, whoever else inserts at the same time: one pending command per
agent and dedupe key, one retry per command. What an index refused is named by the command that was there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.command_states import ServerState
from redflag_store.engine import driver_connection
from redflag_store.queries.refusals import (
    AlreadyPendingError,
    AlreadyRetriedError,
    CommandRefusedError,
    NoSuchCommandError,
)
from redflag_store.states import CommandSource
from redflag_store.tables.commands import PENDING_SQL
from redflag_wire.clock import Clock
from redflag_wire.command_params import CommandKind
from redflag_wire.ids import new_id

REQUESTED_CHANNEL: Final = "redflag_requested"
_INSERT_TRIES: Final = 3  # a conflicting command may end between the insert and the look at it


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One command to be made.

    Attributes:
        agent_id: for which host.
        kind: what to do.
        params: with what; JSON text, so that commands that share it need not hold it twice.
        intent_id: the stored intent behind it; None for a command of RedFlag itself.
        op: correlation id of the request.
        dedupe_key: at most one pending command of this key per agent; None: no limit.
        requested_by: who, for people.
        wave: of the operation, if it has waves.
        retry_of: the ended command this one does again.
        prev: the expired, never started command this one replaces.
    """

    agent_id: UUID
    kind: CommandKind
    params: str
    intent_id: UUID | None
    op: UUID | None
    dedupe_key: str | None
    requested_by: str
    wave: int | None = None
    retry_of: UUID | None = None
    prev: UUID | None = None


Outcome = UUID | CommandRefusedError
"""The id of the command that was made, or why there is none."""


@dataclass(frozen=True, slots=True)
class RetryState:
    """Where an ended command stands as the source of a retry: its own depth, and the retry there is."""

    depth: int
    by: UUID | None


async def retry_states(session: AsyncSession, commands: Sequence[UUID]) -> dict[UUID, RetryState]:
    """Return where these commands stand as sources of a retry.

    Raises:
        NoSuchCommandError: one of them is not there.
    """
    if not commands:
        return {}
    connection = await driver_connection(session)
    rows = await connection.fetch(
        "SELECT c.id, c.retry_depth, r.id AS by FROM command c LEFT JOIN command r ON r.retry_of = c.id "
        "WHERE c.id = ANY($1::uuid[])",
        list(commands),
    )
    found = {row["id"]: RetryState(row["retry_depth"], row["by"]) for row in rows}
    for command in commands:
        if command not in found:
            raise NoSuchCommandError(command)
    return found


async def insert_commands(
    session: AsyncSession,
    clock: Clock,
    wanted: Sequence[Wanted],
    *,
    retried: Mapping[UUID, int],
    source: CommandSource,
    random: Callable[[int], bytes],
) -> dict[UUID, Outcome]:
    """Insert rows, each agent's at most one; return what became of each.

    Args:
        session: inside the caller's transaction.
        clock: server time of the request.
        wanted: what to insert.
        retried: the depth of each command that is retried.
        source: who asks.
        random: source of the ids.
    """
    # The dashboard may not write `source`, so it is named only where it differs from the default.
    extra_column, extra_value = (", source", ", 'system'") if source is CommandSource.SYSTEM else ("", "")
    statement = (
        "INSERT INTO command (id, agent_id, kind, params, intent_id, op, wave, retry_of, retry_depth, prev, "  # noqa: S608
        f"dedupe_key, requested_by, requested_at{extra_column}) "
        "SELECT n.id, n.agent_id, n.kind, (($4::text[])[n.params])::jsonb, n.intent_id, n.op, n.wave, n.retry_of, "
        f"n.retry_depth, n.prev, n.dedupe_key, n.requested_by, $5::timestamptz{extra_value} "
        "FROM unnest($1::uuid[], $2::uuid[], $3::text[], $6::integer[], $7::uuid[], $8::uuid[], $9::integer[], "
        "$10::uuid[], $11::integer[], $12::uuid[], $13::text[], $14::text[]) AS n (id, agent_id, kind, params, "
        "intent_id, op, wave, retry_of, retry_depth, prev, dedupe_key, requested_by) "
        "ON CONFLICT DO NOTHING RETURNING agent_id, id"
    )
    connection = await driver_connection(session)
    outcomes: dict[UUID, Outcome] = {}
    missing = list(wanted)
    for attempt in range(1, _INSERT_TRIES + 1):
        if not missing:
            return outcomes
        texts = {
            params: number for number, params in enumerate(dict.fromkeys(one.params for one in missing), 1)
        }
        inserted = await connection.fetch(
            statement,
            [new_id(clock, random) for _ in missing],
            [one.agent_id for one in missing],
            [one.kind.value for one in missing],
            list(texts),
            clock.now(),
            [texts[one.params] for one in missing],
            [one.intent_id for one in missing],
            [one.op for one in missing],
            [one.wave for one in missing],
            [one.retry_of for one in missing],
            [0 if one.retry_of is None else retried[one.retry_of] + 1 for one in missing],
            [one.prev for one in missing],
            [one.dedupe_key for one in missing],
            [one.requested_by for one in missing],
        )
        outcomes.update({row["agent_id"]: row["id"] for row in inserted})
        missing = [one for one in missing if one.agent_id not in outcomes]
        outcomes.update(await _existing(session, missing, only_pending=attempt < _INSERT_TRIES))
        missing = [one for one in missing if one.agent_id not in outcomes]
    if missing:
        raise RuntimeError("a command was refused by an index and nothing is there that explains it")
    return outcomes


async def _existing(
    session: AsyncSession, missing: Sequence[Wanted], *, only_pending: bool
) -> dict[UUID, CommandRefusedError]:
    if not missing:
        return {}
    again = [one for one in missing if one.retry_of is not None]
    retried = await retry_states(session, [one.retry_of for one in again if one.retry_of is not None])
    found: dict[UUID, CommandRefusedError] = {}
    for one in again:
        by = None if one.retry_of is None else retried[one.retry_of].by
        if one.retry_of is not None and by is not None:
            found[one.agent_id] = AlreadyRetriedError(one.agent_id, one.retry_of, by)
    pending = f"AND {PENDING_SQL} " if only_pending else ""
    connection = await driver_connection(session)
    rows = await connection.fetch(
        "SELECT DISTINCT ON (c.agent_id) c.agent_id, c.id FROM command c "  # noqa: S608
        "JOIN unnest($1::uuid[], $2::text[]) AS m (agent_id, dedupe_key) "
        "ON m.agent_id = c.agent_id AND m.dedupe_key = c.dedupe_key "
        f"WHERE true {pending}ORDER BY c.agent_id, c.requested_at DESC, c.id DESC",
        [one.agent_id for one in missing],
        [one.dedupe_key for one in missing],
    )
    for row in rows:
        found.setdefault(row["agent_id"], AlreadyPendingError(row["agent_id"], row["id"]))
    return found


async def record_requests(
    session: AsyncSession,
    clock: Clock,
    made: Sequence[Wanted],
    ids: Mapping[UUID, Outcome],
    random: Callable[[int], bytes],
) -> None:
    """Write the first event of each command made, and tell the signer at commit."""
    if not made:
        return
    await session.execute(
        text(
            "INSERT INTO command_event (id, command_id, at, to_state, cause, detail) "
            "SELECT n.id, n.command_id, :at, :state, 'requested', CAST(n.detail AS jsonb) "
            "FROM unnest(CAST(:ids AS uuid[]), CAST(:commands AS uuid[]), CAST(:details AS text[])) "
            "AS n (id, command_id, detail)"
        ),
        {
            "ids": [new_id(clock, random) for _ in made],
            "commands": [ids[one.agent_id] for one in made],
            "details": [
                json.dumps(
                    {"by": one.requested_by}
                    if one.retry_of is None
                    else {"by": one.requested_by, "retry_of": str(one.retry_of)}
                )
                for one in made
            ],
            "at": clock.now(),
            "state": ServerState.REQUESTED.value,
        },
    )
    for op in sorted({str(one.op or "") for one in made}):
        await session.execute(
            text("SELECT pg_notify(:channel, :payload)"), {"channel": REQUESTED_CHANNEL, "payload": op}
        )
