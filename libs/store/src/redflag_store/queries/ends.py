"""Commands that end by time: found and ended in bounded batches, each under its row's lock (SKIP LOCKED).

Guarantees: each statement ends only what is still in one of its states, and returns the state it found, so that every
end gets its own `command_event`; the outbox row of what ended is gone with it. Two programs at once end nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection

_DEFAULT_RUNTIME_S: Final = 3600  # of commands signed before the time was kept


@dataclass(frozen=True, slots=True)
class EndedRow:
    """A command that ended by time."""

    command_id: UUID
    agent_id: UUID
    kind: str
    op: UUID | None
    from_state: str


@dataclass(frozen=True, slots=True)
class ParkedRow(EndedRow):
    """A command that was handed out too often.

    Attributes:
        deliveries: how often.
        n: its publish number.
        stream_seq: where its message lies in the stream; None when that is not known.
    """

    deliveries: int
    n: int | None
    stream_seq: int | None


_RETURNED = "c.id AS command_id, c.agent_id, c.kind, c.op, late.state AS from_state"

_EXPIRE = f"""
WITH late AS (
    SELECT id, state FROM command
    WHERE (state IN ('signed', 'queued', 'delivered') OR (state = 'cancelling' AND started_at IS NULL)) AND exp < $1
    ORDER BY exp LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
), ended AS (
    UPDATE command c SET state = 'expired', result = 'expired', code = 'expired', finished_at = $2
    FROM late WHERE c.id = late.id RETURNING {_RETURNED}
), dropped AS (
    DELETE FROM outbox o USING ended WHERE o.command_id = ended.command_id
)
SELECT * FROM ended
"""  # noqa: S608

# Ids are made in time order, so the range of the index ends where the ones begin that may wait on.
_EXPIRE_REQUESTED = f"""
WITH late AS (
    SELECT r.* FROM unnest($1::text[], $2::uuid[], $3::timestamptz[]) AS k (kind, before_id, before)
    CROSS JOIN (VALUES ('manual'), ('system')) AS s (source)
    CROSS JOIN LATERAL (
        SELECT id, state FROM command
        WHERE state = 'requested' AND kind = k.kind AND source = s.source AND id < k.before_id
          AND requested_at < k.before
        ORDER BY id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED
    ) AS r
)
UPDATE command c SET state = 'expired', result = 'expired', code = 'not_admitted', finished_at = $4
FROM late WHERE c.id = late.id RETURNING {_RETURNED}
"""  # noqa: S608

_SILENT = f"""
WITH late AS (
    SELECT id, state FROM command
    WHERE state IN ('running', 'cancelling') AND started_at < $1
      AND started_at + make_interval(secs => coalesce(max_runtime_s, {_DEFAULT_RUNTIME_S})) < $1
    ORDER BY started_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE command c SET state = 'unknown', result = 'unknown', code = 'host_silent', finished_at = $2
FROM late WHERE c.id = late.id RETURNING {_RETURNED}
"""  # noqa: S608

_PARK = f"""
WITH late AS (
    SELECT id, state FROM command
    WHERE state = 'queued' AND last_delivery_at < $1 AND deliveries >= $2
    ORDER BY last_delivery_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
), dropped AS (
    DELETE FROM outbox o USING late WHERE o.command_id = late.id RETURNING o.command_id, o.n, o.stream_seq
), ended AS (
    UPDATE command c SET state = 'parked', result = 'unknown', code = 'parked', finished_at = $3
    FROM late WHERE c.id = late.id RETURNING {_RETURNED}, c.deliveries
)
SELECT ended.*, dropped.n, dropped.stream_seq FROM ended LEFT JOIN dropped ON dropped.command_id = ended.command_id
"""  # noqa: S608

_PROMISED = f"""
WITH late AS (
    SELECT t.id, t.state FROM command t
    WHERE t.state = 'cancelling' AND EXISTS (
        SELECT FROM command x WHERE x.agent_id = t.agent_id AND x.requested_at >= t.requested_at
        AND x.kind = 'cancel' AND x.dedupe_key = 'cancel:' || t.id AND x.state = 'succeeded' AND x.finished_at < $1
    )
    ORDER BY t.id LIMIT $3 FOR NO KEY UPDATE OF t SKIP LOCKED
), ended AS (
    UPDATE command c SET state = 'cancelled', result = 'cancelled', code = 'cancelled', finished_at = $2
    FROM late WHERE c.id = late.id RETURNING {_RETURNED}
), dropped AS (
    DELETE FROM outbox o USING ended WHERE o.command_id = ended.command_id
)
SELECT * FROM ended
"""  # noqa: S608


async def expire(session: AsyncSession, *, exp_before: datetime, now: datetime, limit: int) -> list[EndedRow]:
    """End commands no host has started whose `exp` is earlier than `exp_before`, as `expired`."""
    return await _ended(session, _EXPIRE, exp_before, now, limit)


async def expire_requested(
    session: AsyncSession, lives: Mapping[str, timedelta], *, now: datetime, limit: int
) -> list[EndedRow]:
    """End commands that waited longer than their kind's longest life to be signed, as `expired`.

    Args:
        session: the caller's transaction.
        lives: longest life by kind.
        now: the server's clock.
        limit: rows of each kind and source.
    """
    before = [now - life for life in lives.values()]
    ids = [UUID(int=int(one.timestamp() * 1000) << 80) for one in before]
    return await _ended(session, _EXPIRE_REQUESTED, list(lives), ids, before, now, limit)


async def end_silent(
    session: AsyncSession, *, silent: timedelta, now: datetime, limit: int
) -> list[EndedRow]:
    """End commands a host began and is silent about for `silent` after their longest run, as `unknown`."""
    return await _ended(session, _SILENT, now - silent, now, limit)


async def park(
    session: AsyncSession, *, most: int, delivered_before: datetime, now: datetime, limit: int
) -> list[ParkedRow]:
    """End commands handed out `most` times without a word of their host, as `parked`.

    Args:
        session: the caller's transaction.
        most: deliveries that are enough.
        delivered_before: the last delivery is older than this, so that an answer on its way is waited for.
        now: the server's clock.
        limit: rows.
    """
    connection = await driver_connection(session)
    rows = await connection.fetch(_PARK, delivered_before, most, now, limit)
    return [ParkedRow(**dict(row)) for row in rows]


async def end_promised(
    session: AsyncSession, *, said_before: datetime, now: datetime, limit: int
) -> list[EndedRow]:
    """End commands as `cancelled` whose cancel the host carried out before `said_before`, and of which it said nothing.

    A host that never saw a command promises with its cancel never to begin it.
    """
    return await _ended(session, _PROMISED, said_before, now, limit)


async def _ended(session: AsyncSession, statement: str, *values: Any) -> list[EndedRow]:  # noqa: ANN401
    connection = await driver_connection(session)
    return [EndedRow(**dict(row)) for row in await connection.fetch(statement, *values)]
