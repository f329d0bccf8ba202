"""What the signer reads and writes: requested commands, their intents, their agents; signed bytes in one batch.

Guarantees: a requested row is held by one signer at a time (FOR UPDATE SKIP LOCKED), an agent's `last_seq` is read
and raised under the lock of its row, and `store_signed` changes rows still `requested` only. Everything stands in
the caller's one transaction.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


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
    shard: int
    log_id: UUID


_CLAIM = """
SELECT id, agent_id, kind, params::text AS params, op, wave, prev, intent_id
FROM command WHERE state = 'requested' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
"""

_AGENTS = """
SELECT id, state, akt, last_seq, seq_floor FROM agent
WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""

_USED = """
SELECT DISTINCT c.intent_id, s.agent_id FROM command c JOIN signing_log s ON s.command_id = c.id
WHERE c.intent_id = ANY($1::uuid[]) AND c.agent_id = ANY($2::uuid[])
"""

_SIGNED = """
UPDATE command c SET state = 'signed', seq = n.seq, envelope = n.envelope, digest = n.digest, signed_at = $7,
                     nbf = n.nbf, exp = n.exp
FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::text[], $5::timestamptz[], $6::timestamptz[])
     AS n (id, seq, envelope, digest, nbf, exp)
WHERE c.id = n.id AND c.state = 'requested'
"""

_LOG = """
INSERT INTO signing_log (id, command_id, agent_id, digest, keyid, at)
SELECT n.*, $6::timestamptz FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[])
     AS n (id, command_id, agent_id, digest, keyid)
"""

_OUTBOX = """
INSERT INTO outbox (command_id, agent_id, shard, n, due_at)
SELECT n.command_id, n.agent_id, n.shard, 1, $4::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS n (command_id, agent_id, shard)
"""

_LAST_SEQ = """
UPDATE agent a SET last_seq = n.seq
FROM (SELECT agent_id, max(seq) AS seq FROM unnest($1::uuid[], $2::bigint[]) AS u (agent_id, seq)
      GROUP BY agent_id) AS n
WHERE a.id = n.agent_id AND a.last_seq < n.seq
"""

_CANCEL = """
UPDATE command c SET state = 'cancelled', finished_at = $3, code = n.code, result = 'cancelled'
FROM unnest($1::uuid[], $2::text[]) AS n (id, code) WHERE c.id = n.id AND c.state = 'requested'
"""


async def claim_requested(session: AsyncSession, limit: int) -> list[RequestedRow]:
    """Lock up to `limit` requested commands that no other signer holds, oldest first."""
    connection = await driver_connection(session)
    return [
        RequestedRow(
            id=row["id"],
            agent_id=row["agent_id"],
            kind=row["kind"],
            params=json.loads(row["params"]),
            op=row["op"],
            wave=row["wave"],
            prev=row["prev"],
            intent_id=row["intent_id"],
        )
        for row in await connection.fetch(_CLAIM, limit)
    ]


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
    """Return the (intent, agent) pairs a command was signed for already; call it with the agents locked."""
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
    )
    await connection.execute(
        _LOG, [row.log_id for row in rows], ids, agents, digests, [row.keyid for row in rows], at
    )
    await connection.execute(_OUTBOX, ids, agents, [row.shard for row in rows], at)
    await connection.execute(_LAST_SEQ, agents, seqs)


async def cancel_requested(session: AsyncSession, refused: Sequence[tuple[UUID, str]], at: datetime) -> None:
    """End requested commands as `cancelled`; each comes with its reason's code."""
    if not refused:
        return
    connection = await driver_connection(session)
    await connection.execute(_CANCEL, [row[0] for row in refused], [row[1] for row in refused], at)
