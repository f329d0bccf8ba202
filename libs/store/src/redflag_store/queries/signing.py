"""What the signer reads and writes: requested commands, their intents, their agents; signed bytes in one batch.

Guarantees: a requested row is held by one signer at a time (FOR UPDATE SKIP LOCKED), cancels before all others; an
agent's `last_seq` is read and raised under the lock of its row, and `store_signed` changes rows still `requested`
only. Everything stands in the caller's one transaction. What people ask for stands before what RedFlag asks for.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.queries.in_order import fetch_in_order


@dataclass(frozen=True, slots=True)
class RequestedRow:
    """A requested command as the database has it; nothing of it is believed yet."""

    id: UUID
    agent_id: UUID
    kind: str
    params: dict[str, Any]
    op: UUID | None
    wave: int | None
    prev: UUID | None
    intent_id: UUID | None
    source: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent under lock."""

    id: UUID
    state: str
    akt: str
    last_seq: int
    seq_floor: int


@dataclass(frozen=True, slots=True)
class SignedRow:
    """A command's bytes, made once.

    Attributes:
        id: the command.
        agent_id: its agent.
        seq: the number in the bytes.
        envelope: the signed bytes.
        digest: of the payload.
        keyid: of the key that signed.
        nbf: not before.
        exp: not after.
        max_runtime_s: seconds the host may let it run.
        urgent: whether its message goes out before others.
        shard: the stream it goes to.
        log_id: key of its row in `signing_log`.
    """

    id: UUID
    agent_id: UUID
    seq: int
    envelope: bytes
    digest: str
    keyid: str
    nbf: datetime
    exp: datetime
    max_runtime_s: int
    urgent: bool
    shard: int
    log_id: UUID


# A loose scan of the partial index: one probe per kind, however many wait.
_KINDS = """
WITH RECURSIVE k AS (
    (SELECT kind FROM command WHERE state = 'requested' ORDER BY kind LIMIT 1)
    UNION ALL
    SELECT (SELECT c.kind FROM command c WHERE c.state = 'requested' AND c.kind > k.kind ORDER BY c.kind LIMIT 1)
    FROM k WHERE k.kind IS NOT NULL
)
SELECT kind FROM k WHERE kind IS NOT NULL
"""

# Kind by kind, so that thousands of one kind that wait for their limit do not stand before the others; of one kind,
# what people ask for (`manual`) first: scheduled scans of a whole fleet do not stand before a click.
_CLAIM = """
SELECT r.* FROM unnest($1::text[], $2::integer[]) AS k (kind, most)
CROSS JOIN LATERAL (
    SELECT id, agent_id, kind, params::text AS params, op, wave, prev, intent_id, source, requested_at
    FROM command
    WHERE state = 'requested' AND kind = k.kind ORDER BY source, id LIMIT k.most FOR UPDATE SKIP LOCKED
) AS r
ORDER BY r.kind = 'cancel' DESC, r.source, r.id LIMIT $3
"""

_UNREADABLE: dict[str, Any] = {"": "no object of parameters"}

_AGENTS = """
SELECT id, state, akt, last_seq, seq_floor FROM agent
WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

_USED = """
SELECT DISTINCT intent_id, agent_id FROM command
WHERE intent_id = ANY($1::uuid[]) AND agent_id = ANY($2::uuid[]) AND state <> 'requested'
"""

_SIGNED = """
UPDATE command c SET state = 'signed', seq = n.seq, envelope = n.envelope, digest = n.digest, signed_at = $7,
                     nbf = n.nbf, exp = n.exp, max_runtime_s = n.max_runtime_s
FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::text[], $5::timestamptz[], $6::timestamptz[], $8::integer[])
     AS n (id, seq, envelope, digest, nbf, exp, max_runtime_s)
WHERE c.id = n.id AND c.state = 'requested'
"""

_LOG = """
INSERT INTO signing_log (id, command_id, agent_id, digest, keyid, at)
SELECT n.*, $6::timestamptz FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[])
     AS n (id, command_id, agent_id, digest, keyid)
"""

_OUTBOX = """
INSERT INTO outbox (command_id, agent_id, shard, n, due_at, urgent)
SELECT n.command_id, n.agent_id, n.shard, 1, $4::timestamptz, n.urgent
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $5::boolean[]) AS n (command_id, agent_id, shard, urgent)
"""

_LAST_SEQ = """
UPDATE agent a SET last_seq = n.seq
FROM (SELECT agent_id, max(seq) AS seq FROM unnest($1::uuid[], $2::bigint[]) AS u (agent_id, seq)
      GROUP BY agent_id) AS n
WHERE a.id = n.agent_id AND a.last_seq < n.seq
"""


async def requested_kinds(session: AsyncSession) -> list[str]:
    """Return the kinds of which at least one command waits to be signed."""
    connection = await driver_connection(session)
    return [row["kind"] for row in await connection.fetch(_KINDS)]


async def claim_requested(session: AsyncSession, most: Mapping[str, int], limit: int) -> list[RequestedRow]:
    """Lock requested commands that no other signer holds: cancels, then what people ask for, each the oldest first.

    Args:
        session: the caller's transaction.
        most: how many of each kind; a kind that is not named is left alone.
        limit: how many in all.
    """
    return [
        RequestedRow(
            id=row["id"],
            agent_id=row["agent_id"],
            kind=row["kind"],
            params=_params(row["params"]),
            op=row["op"],
            wave=row["wave"],
            prev=row["prev"],
            intent_id=row["intent_id"],
            source=row["source"],
            requested_at=row["requested_at"],
        )
        for row in await fetch_in_order(session, _CLAIM, list(most), list(most.values()), limit)
    ]


def _params(written: str) -> dict[str, Any]:
    """Return parameters as they are believed nowhere yet; what is no object becomes one that no schema takes."""
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list a thousand deep
        return _UNREADABLE
    return found if isinstance(found, dict) else _UNREADABLE


async def intent_envelopes(session: AsyncSession, intents: Collection[UUID]) -> dict[UUID, bytes]:
    """Return the stored envelopes of these intents; one that does not exist is left out."""
    if not intents:
        return {}
    connection = await driver_connection(session)
    rows = await connection.fetch("SELECT id, envelope FROM intent WHERE id = ANY($1::uuid[])", list(intents))
    return {row["id"]: bytes(row["envelope"]) for row in rows}


async def lock_agents(session: AsyncSession, agents: Collection[UUID]) -> dict[UUID, AgentRow]:
    """Lock these agents' rows, in the order of their ids as every locker does."""
    connection = await driver_connection(session)
    return {row["id"]: AgentRow(**dict(row)) for row in await connection.fetch(_AGENTS, list(agents))}


async def used_intents(
    session: AsyncSession, intents: Collection[UUID], agents: Collection[UUID]
) -> set[tuple[UUID, UUID]]:
    """Return the (intent, agent) pairs that were used: a command was signed, or ended before it was.

    A cancel before the signature ends the operator's word too. Call it with the agents locked.
    """
    connection = await driver_connection(session)
    rows = await connection.fetch(_USED, list(intents), list(agents))
    return {(row["intent_id"], row["agent_id"]) for row in rows}


async def store_signed(session: AsyncSession, rows: Sequence[SignedRow], at: datetime) -> None:
    """Write the signed bytes, the signing log, the outbox rows and the agents' last numbers."""
    if not rows:
        return
    connection = await driver_connection(session)
    ids = [row.id for row in rows]
    agents = [row.agent_id for row in rows]
    seqs = [row.seq for row in rows]
    digests = [row.digest for row in rows]
    await connection.execute(
        _SIGNED,
        ids,
        seqs,
        [row.envelope for row in rows],
        digests,
        [row.nbf for row in rows],
        [row.exp for row in rows],
        at,
        [row.max_runtime_s for row in rows],
    )
    await connection.execute(
        _LOG, [row.log_id for row in rows], ids, agents, digests, [row.keyid for row in rows], at
    )
    await connection.execute(
        _OUTBOX, ids, agents, [row.shard for row in rows], at, [row.urgent for row in rows]
    )
    await connection.execute(_LAST_SEQ, agents, seqs)
