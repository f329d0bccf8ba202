"""What the reconciler reads and repairs; every statement is a bounded batch.

Guarantees: a republication raises the publish number `n` in the outbox row and leaves the bytes alone; only
commands still `queued` are republished.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A command the broker should hold and no host has taken yet."""

    command_id: UUID
    agent_id: UUID
    n: int
    stream_seq: int


_LOST = """
WITH lost AS (
    SELECT o.command_id FROM outbox o JOIN command c ON c.id = o.command_id
    WHERE o.shard = $1 AND o.published_at IS NOT NULL AND c.state = 'queued' AND c.exp >= $4
      AND o.stream_created_at IS DISTINCT FROM $2
    ORDER BY o.command_id LIMIT $5 FOR UPDATE OF o SKIP LOCKED
)
UPDATE outbox o SET n = o.n + 1, published_at = NULL, claimed_until = NULL, due_at = $3, stream_seq = NULL,
                    stream_created_at = NULL, last_error = 'stream_lost'
FROM lost WHERE o.command_id = lost.command_id
RETURNING o.command_id
"""

_WAITING = """
SELECT o.command_id, o.agent_id, o.n, o.stream_seq FROM outbox o JOIN command c ON c.id = o.command_id
WHERE o.shard = $1 AND o.published_at < $2 AND c.state = 'queued' AND o.stream_seq IS NOT NULL
  AND (o.agent_id, o.command_id) > ($3, $4)
ORDER BY o.agent_id, o.command_id LIMIT $5
"""

_AGAIN = """
UPDATE outbox o SET n = o.n + 1, published_at = NULL, claimed_until = NULL, due_at = $3, stream_seq = NULL,
                    stream_created_at = NULL, last_error = 'message_lost'
FROM unnest($1::uuid[], $2::integer[]) AS m (id, n)
WHERE o.command_id = m.id AND o.n = m.n AND o.published_at IS NOT NULL
RETURNING o.command_id
"""

_SWEEP = """
DELETE FROM outbox WHERE command_id IN (
    SELECT o.command_id FROM outbox o JOIN command c ON c.id = o.command_id
    WHERE c.state NOT IN ('signed', 'queued', 'cancelling') LIMIT $1 FOR UPDATE OF o SKIP LOCKED
)
"""


async def republish_lost(
    session: AsyncSession, shard: int, created: datetime, *, now: datetime, not_before: datetime, limit: int
) -> int:
    """Make every queued command of a shard due again that another incarnation of its stream took.

    Args:
        session: the caller's transaction.
        shard: which.
        created: when the stream that is there now was made.
        now: the server's clock.
        not_before: commands whose `exp` is earlier are left alone.
        limit: how many at most; call again while it returns that many.
    """
    connection = await driver_connection(session)
    return len(await connection.fetch(_LOST, shard, created, now, not_before, limit))


async def waiting(
    session: AsyncSession, shard: int, *, published_before: datetime, after: tuple[UUID, UUID], limit: int
) -> list[WaitingRow]:
    """Return a page of the commands that have waited for their host since `published_before`, by agent.

    Args:
        session: the caller's transaction.
        shard: which.
        published_before: only what was published earlier.
        after: (agent, command) of the last row of the page before; two zero ids for the first.
        limit: rows in a page.
    """
    connection = await driver_connection(session)
    rows = await connection.fetch(_WAITING, shard, published_before, *after, limit)
    return [WaitingRow(**dict(row)) for row in rows]


async def republish(session: AsyncSession, rows: Sequence[WaitingRow], now: datetime) -> int:
    """Make these commands due again under their next publish number."""
    if not rows:
        return 0
    connection = await driver_connection(session)
    found = await connection.fetch(_AGAIN, [row.command_id for row in rows], [row.n for row in rows], now)
    return len(found)


async def sweep_outbox(session: AsyncSession, limit: int) -> int:
    """Delete a batch of outbox rows whose command is past the broker; return how many."""
    connection = await driver_connection(session)
    status: str = await connection.execute(_SWEEP, limit)
    return int(status.rpartition(" ")[2])


async def pending_counts(session: AsyncSession, agents: Collection[UUID]) -> dict[UUID, int]:
    """Return how many published, still queued commands each of these agents has."""
    connection = await driver_connection(session)
    rows = await connection.fetch(
        """
        SELECT o.agent_id, count(*) AS pending FROM outbox o JOIN command c ON c.id = o.command_id
        WHERE o.agent_id = ANY($1::uuid[]) AND o.published_at IS NOT NULL AND c.state = 'queued'
        GROUP BY o.agent_id
        """,
        list(agents),
    )
    return {row["agent_id"]: row["pending"] for row in rows}
