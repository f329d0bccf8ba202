"""Seats, agents, their keys and access generations; docs/protocol.md 8.1 and 8.4.

Guarantees: a seat is taken by one guarded UPDATE in the transaction that inserts the agent, and the key (token,
agent key) of table `enrolment` makes a retried enrolment free; generations are read and written under the lock of
the agent's row.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


@dataclass(frozen=True, slots=True)
class Seat:
    """What a taken seat gives its agent."""

    auto_approve: bool
    tags: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent to insert, with its two public keys."""

    id: UUID
    hostname: str
    machine_id: str
    state: str
    akt: str
    token_id: str
    tags: dict[str, Any]
    agent_pub: bytes
    agent_keyid: str
    receipt_pub: bytes
    receipt_keyid: str
    receipt_thumbprint: str


@dataclass(frozen=True, slots=True)
class HeldAgent:
    """An agent whose row is locked, as renewals need it."""

    id: UUID
    state: str
    akt: str
    machine_id: str
    agent_pub: bytes


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A generation in force or issued."""

    gen: int
    state: str
    secret_sha256: bytes
    issued_at: datetime
    last_used_at: datetime | None


_TAKE = """
UPDATE enrollment_token SET used = used + 1
WHERE id = $1 AND used < max_seats AND expires_at > $2 AND revoked_at IS NULL
RETURNING auto_approve, tags::text AS tags
"""

_AGENT = """
INSERT INTO agent (id, hostname, machine_id, state, akt, token_id, tags, created_at, last_seen_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $8)
"""

_KEY = """
INSERT INTO agent_key (agent_id, role, thumbprint, pub, keyid, created_at) VALUES ($1, $2, $3, $4, $5, $6)
"""

_HELD = """
SELECT a.id, a.state, a.akt, a.machine_id, k.pub AS agent_pub
FROM agent a JOIN agent_key k ON k.agent_id = a.id AND k.role = 'agent' AND k.retired_at IS NULL
"""

_GENERATIONS = """
SELECT gen, state, secret_sha256, issued_at, last_used_at FROM access_generation
WHERE agent_id = $1 AND state IN ('current', 'issued')
"""

_ISSUE = """
INSERT INTO access_generation (agent_id, gen, secret_sha256, state, issued_at) VALUES ($1, $2, $3, 'issued', $4)
ON CONFLICT (agent_id, gen) DO UPDATE SET secret_sha256 = EXCLUDED.secret_sha256, issued_at = EXCLUDED.issued_at
WHERE access_generation.state = 'issued'
"""


async def token_pub(session: AsyncSession, token_id: str) -> bytes | None:
    """Return the token's public key, or None when there is no such token."""
    connection = await driver_connection(session)
    pub = await connection.fetchval("SELECT pub FROM enrollment_token WHERE id = $1", token_id)
    return None if pub is None else bytes(pub)


async def enrolled_agent(session: AsyncSession, token_id: str, agent_pub: bytes) -> UUID | None:
    """Return the agent this key enrolled as with this token, if it did.

    Takes a transaction-long lock on the pair first, so that two copies of one request come one after the other.
    """
    connection = await driver_connection(session)
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"enrol {token_id} {agent_pub.hex()}"
    )
    agent: UUID | None = await connection.fetchval(
        "SELECT agent_id FROM enrolment WHERE token_id = $1 AND agent_pub = $2", token_id, agent_pub
    )
    return agent


async def token_is_revoked(session: AsyncSession, token_id: str) -> bool:
    """Whether the token was revoked, or does not exist."""
    connection = await driver_connection(session)
    return not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM enrollment_token WHERE id = $1 AND revoked_at IS NULL)", token_id
    )


async def take_seat(session: AsyncSession, token_id: str, at: datetime) -> Seat | None:
    """Take one seat; None when the token has none left, is expired or revoked."""
    connection = await driver_connection(session)
    row = await connection.fetchrow(_TAKE, token_id, at)
    return None if row is None else Seat(row["auto_approve"], json.loads(row["tags"]))


async def why_no_seat(session: AsyncSession, token_id: str, at: datetime) -> str:
    """Why `take_seat` took none: `token_revoked`, `token_expired`, `token_used_up`, `token_unknown`, or `other`."""
    connection = await driver_connection(session)
    row = await connection.fetchrow(
        "SELECT revoked_at, expires_at, used, max_seats FROM enrollment_token WHERE id = $1", token_id
    )
    if row is None:
        return "token_unknown"
    if row["revoked_at"] is not None:
        return "token_revoked"
    if row["expires_at"] <= at:
        return "token_expired"
    return "token_used_up" if row["used"] >= row["max_seats"] else "other"


async def key_is_known(session: AsyncSession, thumbprints: list[str]) -> bool:
    """Whether any of these keys belongs to an agent already."""
    connection = await driver_connection(session)
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM agent_key WHERE thumbprint = ANY($1::text[]))", thumbprints
        )
    )


async def insert_agent(session: AsyncSession, agent: NewAgent, at: datetime) -> None:
    """Insert the agent, its keys and the seat's record."""
    connection = await driver_connection(session)
    await connection.execute(
        _AGENT,
        agent.id,
        agent.hostname,
        agent.machine_id,
        agent.state,
        agent.akt,
        agent.token_id,
        json.dumps(agent.tags),
        at,
    )
    await connection.execute(_KEY, agent.id, "agent", agent.akt, agent.agent_pub, agent.agent_keyid, at)
    await connection.execute(
        _KEY, agent.id, "receipt", agent.receipt_thumbprint, agent.receipt_pub, agent.receipt_keyid, at
    )
    await connection.execute(
        "INSERT INTO enrolment (token_id, agent_pub, agent_id, at) VALUES ($1, $2, $3, $4)",
        agent.token_id,
        agent.agent_pub,
        agent.id,
        at,
    )


async def agent_by_thumbprint(session: AsyncSession, akt: str) -> HeldAgent | None:
    """Return the agent whose key in use has this thumbprint, without a lock."""
    connection = await driver_connection(session)
    row = await connection.fetchrow(_HELD + "WHERE a.akt = $1", akt)
    return None if row is None else HeldAgent(**{**dict(row), "agent_pub": bytes(row["agent_pub"])})


async def hold_agent(session: AsyncSession, agent: UUID) -> HeldAgent | None:
    """Lock and return an agent's row."""
    connection = await driver_connection(session)
    row = await connection.fetchrow(_HELD + "WHERE a.id = $1 FOR NO KEY UPDATE OF a", agent)
    return None if row is None else HeldAgent(**{**dict(row), "agent_pub": bytes(row["agent_pub"])})


async def generations(session: AsyncSession, agent: UUID) -> list[GenerationRow]:
    """Return the agent's generation in force and the issued one, where there are such."""
    connection = await driver_connection(session)
    return [
        GenerationRow(**{**dict(row), "secret_sha256": bytes(row["secret_sha256"])})
        for row in await connection.fetch(_GENERATIONS, agent)
    ]


async def issue_generation(
    session: AsyncSession, agent: UUID, gen: int, secret_sha256: bytes, at: datetime
) -> None:
    """Store generation `gen` as issued; one issued before and never confirmed gets the new secret."""
    connection = await driver_connection(session)
    await connection.execute(_ISSUE, agent, gen, secret_sha256, at)


async def confirm_generation(session: AsyncSession, agent: UUID, gen: int, at: datetime) -> None:
    """Make the issued generation the one in force and end the one before."""
    connection = await driver_connection(session)
    await connection.execute(
        "UPDATE access_generation SET state = 'ended', ended_at = $2 WHERE agent_id = $1 AND state = 'current'",
        agent,
        at,
    )
    await connection.execute(
        """
        UPDATE access_generation SET state = 'current', confirmed_at = $3, last_used_at = $3
        WHERE agent_id = $1 AND gen = $2 AND state = 'issued'
        """,
        agent,
        gen,
        at,
    )


async def use_generation(session: AsyncSession, agent: UUID, gen: int, at: datetime) -> None:
    """Write when a generation was last presented."""
    connection = await driver_connection(session)
    await connection.execute(
        "UPDATE access_generation SET last_used_at = $3 WHERE agent_id = $1 AND gen = $2", agent, gen, at
    )
