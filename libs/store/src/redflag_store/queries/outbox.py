"""What the relay reads and writes: due outbox rows, claimed for a while, marked published or put off.

Guarantees: a due row is held by one relay until `claimed_until` (FOR UPDATE SKIP LOCKED), and a relay that died
gives its rows back by time alone. A mark names the publish number `n` it is about, so one that comes late, after
the reconciler raised `n`, changes nothing. A command is moved to `queued` from `signed` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.queries.in_order import fetch_in_order


@dataclass(frozen=True, slots=True)
class DueRow:
    """A message to publish: exactly these bytes, under the id `<command>:<n>`."""

    command_id: UUID
    agent_id: UUID
    shard: int
    n: int
    attempts: int
    envelope: bytes
    exp: datetime
    op: UUID | None


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A message the broker has.

    Attributes:
        command_id: the command.
        n: the publish number it went out with.
        stream_created_at: which incarnation of the stream took it; None when not known.
        stream_seq: where in it.
    """

    command_id: UUID
    n: int
    stream_created_at: datetime | None
    stream_seq: int


@dataclass(frozen=True, slots=True)
class PutOffRow:
    """A message the broker does not have: what comes next.

    Attributes:
        command_id: the command.
        n: the publish number that was tried.
        next_n: the number to try with.
        due_at: when.
        error: why.
    """

    command_id: UUID
    n: int
    next_n: int
    due_at: datetime
    error: str


_CLAIM = """
WITH due AS (
    SELECT o.command_id FROM outbox o JOIN command c ON c.id = o.command_id
    WHERE o.published_at IS NULL AND o.due_at <= $2 AND (o.claimed_until IS NULL OR o.claimed_until <= $2)
      AND c.state IN ('signed', 'queued') AND c.exp >= $4
    ORDER BY o.urgent DESC, o.due_at LIMIT $1 FOR UPDATE OF o SKIP LOCKED
)
UPDATE outbox o SET claimed_until = $3 FROM due, command c
WHERE o.command_id = due.command_id AND c.id = o.command_id
RETURNING o.command_id, o.agent_id, o.shard, o.n, o.attempts, c.envelope, c.exp, c.op
"""

_PUBLISHED = """
UPDATE outbox o SET published_at = $5, claimed_until = NULL, stream_created_at = p.created, stream_seq = p.seq,
                    attempts = o.attempts + 1, last_error = NULL
FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::bigint[]) AS p (id, n, created, seq)
WHERE o.command_id = p.id AND o.n = p.n
"""

_QUEUED = """
WITH locked AS (
    SELECT id FROM command WHERE id = ANY($1::uuid[]) AND state = 'signed' ORDER BY id FOR NO KEY UPDATE
)
UPDATE command c SET state = 'queued', queued_at = $2 FROM locked WHERE c.id = locked.id
RETURNING c.id, c.agent_id
"""

_PUT_OFF = """
UPDATE outbox o SET claimed_until = NULL, due_at = p.due, n = p.next_n, attempts = o.attempts + 1,
                    last_error = p.error
FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::timestamptz[], $5::text[])
     AS p (id, n, next_n, due, error)
WHERE o.command_id = p.id AND o.n = p.n AND o.published_at IS NULL
"""

_LAG = """
SELECT count(*) AS due, min(due_at) AS oldest FROM outbox WHERE published_at IS NULL AND due_at <= $1
"""


async def claim_due(
    session: AsyncSession, limit: int, *, now: datetime, claimed_until: datetime, not_before: datetime
) -> list[DueRow]:
    """Claim up to `limit` due rows: cancels first, then the oldest.

    Args:
        session: the caller's transaction; commit before publishing.
        limit: how many.
        now: the server's clock.
        claimed_until: when another relay may take them over.
        not_before: commands whose `exp` is earlier are left for the reconciler to expire.
    """
    rows = await fetch_in_order(session, _CLAIM, limit, now, claimed_until, not_before)
    return [
        DueRow(
            command_id=row["command_id"],
            agent_id=row["agent_id"],
            shard=row["shard"],
            n=row["n"],
            attempts=row["attempts"],
            envelope=bytes(row["envelope"]),
            exp=row["exp"],
            op=row["op"],
        )
        for row in rows
    ]


async def mark_published(
    session: AsyncSession, rows: Sequence[PublishedRow], at: datetime
) -> list[tuple[UUID, UUID]]:
    """Mark messages as published; return (command, agent) of the commands that became `queued` by it."""
    if not rows:
        return []
    connection = await driver_connection(session)
    queued = await connection.fetch(_QUEUED, [row.command_id for row in rows], at)
    await connection.execute(
        _PUBLISHED,
        [row.command_id for row in rows],
        [row.n for row in rows],
        [row.stream_created_at for row in rows],
        [row.stream_seq for row in rows],
        at,
    )
    return [(row["id"], row["agent_id"]) for row in queued]


async def put_off(session: AsyncSession, rows: Sequence[PutOffRow]) -> None:
    """Give rows back, to be tried again when they are due."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _PUT_OFF,
        [row.command_id for row in rows],
        [row.n for row in rows],
        [row.next_n for row in rows],
        [row.due_at for row in rows],
        [row.error for row in rows],
    )


async def backlog(session: AsyncSession, now: datetime) -> tuple[int, datetime | None]:
    """Return how many rows are due and since when the oldest is."""
    connection = await driver_connection(session)
    row = await connection.fetchrow(_LAG, now)
    return row["due"], row["oldest"]
