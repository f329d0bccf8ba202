"""What the dispatchers read and write of jobs: items to turn into commands, to stop, to cancel; jobs that are over.

Guarantees: an item is held by one dispatcher at a time (FOR UPDATE SKIP LOCKED) and decided once; a job's counts
change in the transaction that decides its items, under the lock of the job's row, locked in the order of the ids.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.queries.in_order import fetch_in_order
from redflag_store.states import JobItemState
from redflag_store.tables.commands import PENDING_SQL


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item that waits, locked, with what its job says about it."""

    job_id: UUID
    position: int
    agent_id: UUID
    intent_id: UUID
    params: str  # JSON text
    dedupe_key: str | None
    kind: str
    op: UUID
    requested_by: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class CancelRow:
    """An item of a job that is to end, locked, whose command has no end yet."""

    job_id: UUID
    position: int
    agent_id: UUID
    command_id: UUID
    intent_id: UUID
    op: UUID
    requested_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an item.

    Attributes:
        job_id, position: the item.
        state: it is in from now on.
        command_id: its command, when made.
        code: why there is none, or not yet.
        existing_id: the command that was there already.
        due_at: when to try again, when it waits on.
    """

    job_id: UUID
    position: int
    state: JobItemState
    command_id: UUID | None = None
    code: str | None = None
    existing_id: UUID | None = None
    due_at: datetime | None = None


_CLAIM = """
SELECT i.job_id, i.position, i.agent_id, i.intent_id, coalesce(i.params, j.params)::text AS params,
       coalesce(i.dedupe_key, j.dedupe_key) AS dedupe_key, j.kind, j.op, j.requested_by, j.requested_at
FROM job_item i JOIN job j ON j.id = i.job_id
WHERE i.state = 'waiting' AND i.due_at <= $1 AND j.state = 'running'
ORDER BY i.due_at, i.job_id, i.position LIMIT $2 FOR UPDATE OF i SKIP LOCKED
"""

_DECIDE = """
UPDATE job_item i SET state = n.state, command_id = n.command_id, code = n.code, existing_id = n.existing_id,
                      due_at = coalesce(n.due_at, i.due_at), tries = i.tries + 1,
                      decided_at = CASE WHEN n.state = 'waiting' THEN NULL ELSE $8::timestamptz END
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::uuid[], $5::text[], $6::uuid[], $7::timestamptz[])
     AS n (job_id, position, state, command_id, code, existing_id, due_at)
WHERE i.job_id = n.job_id AND i.position = n.position AND i.state = 'waiting'
"""

# A total that was written too low by other means than `create_job` is put right; it stops no job.
_COUNT = """
WITH locked AS (
    SELECT j.id, n.made, n.refused FROM job j
    JOIN unnest($1::uuid[], $2::integer[], $3::integer[]) AS n (id, made, refused) ON n.id = j.id
    ORDER BY j.id FOR UPDATE OF j
)
UPDATE job j SET made = j.made + locked.made, refused = j.refused + locked.refused,
                 total = greatest(j.total, j.made + locked.made + j.refused + locked.refused)
FROM locked WHERE locked.id = j.id
"""

_STOP = """
WITH stopped AS (
    SELECT i.job_id, i.position FROM job j JOIN job_item i ON i.job_id = j.id AND i.state = 'waiting'
    WHERE j.state = 'cancelling' ORDER BY i.job_id, i.position LIMIT $2 FOR UPDATE OF i SKIP LOCKED
)
UPDATE job_item i SET state = 'refused', code = 'job_cancelled', decided_at = $1
FROM stopped WHERE i.job_id = stopped.job_id AND i.position = stopped.position
RETURNING i.job_id
"""

_TO_CANCEL = f"""
SELECT i.job_id, i.position, i.agent_id, i.command_id, j.cancel_intent_id AS intent_id, j.op,
       j.cancelled_by AS requested_by
FROM job j JOIN job_item i ON i.job_id = j.id AND i.state = 'made' AND i.cancel_id IS NULL AND i.cancel_code IS NULL
JOIN command c ON c.id = i.command_id
WHERE j.state = 'cancelling' AND c.{PENDING_SQL}
ORDER BY i.job_id, i.position LIMIT $1 FOR UPDATE OF i SKIP LOCKED
"""  # noqa: S608

_CANCELS = """
UPDATE job_item i SET cancel_id = n.cancel_id, cancel_code = n.code
FROM unnest($1::uuid[], $2::integer[], $3::uuid[], $4::text[]) AS n (job_id, position, cancel_id, code)
WHERE i.job_id = n.job_id AND i.position = n.position
"""

_FINISH = f"""
WITH over AS (
    SELECT j.id FROM job j
    WHERE j.state IN ('running', 'cancelling') AND j.made + j.refused = j.total AND NOT EXISTS (
        SELECT FROM job_item i JOIN command c ON c.id = i.command_id
        WHERE i.job_id = j.id AND i.state = 'made' AND c.{PENDING_SQL}
    )
    ORDER BY j.id LIMIT $2 FOR UPDATE OF j SKIP LOCKED
)
UPDATE job j SET finished_at = $1, state = CASE WHEN j.state = 'running' THEN 'finished' ELSE 'cancelled' END,
                 ends = coalesce((
    SELECT jsonb_object_agg(n.state, n.commands) FROM (
        SELECT c.state, count(*) AS commands FROM job_item i JOIN command c ON c.id = i.command_id
        WHERE i.job_id = j.id AND i.state = 'made' GROUP BY c.state
    ) AS n
), '{{}}'::jsonb)
FROM over WHERE j.id = over.id RETURNING j.id, j.op, j.kind, j.state, j.ends::text AS ends
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A job that is over; `ends` is JSON text, state -> number of commands."""

    id: UUID
    op: UUID
    kind: str
    state: str
    ends: str


async def claim_items(session: AsyncSession, now: datetime, limit: int) -> list[ItemRow]:
    """Lock items that are due and that no other dispatcher holds."""
    return [ItemRow(**dict(row)) for row in await fetch_in_order(session, _CLAIM, now, limit)]


async def write_decisions(session: AsyncSession, decisions: Sequence[Decision], at: datetime) -> None:
    """Write what became of locked items, and count it in their jobs."""
    if not decisions:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _DECIDE,
        [one.job_id for one in decisions],
        [one.position for one in decisions],
        [one.state.value for one in decisions],
        [one.command_id for one in decisions],
        [one.code for one in decisions],
        [one.existing_id for one in decisions],
        [one.due_at for one in decisions],
        at,
    )
    made = Counter(one.job_id for one in decisions if one.state is JobItemState.MADE)
    refused = Counter(one.job_id for one in decisions if one.state is JobItemState.REFUSED)
    await _count(session, made, refused)


async def stop_items(session: AsyncSession, now: datetime, limit: int) -> int:
    """Refuse what waits in jobs that are to end; return how many items it was."""
    connection = await driver_connection(session)
    stopped = Counter(row["job_id"] for row in await connection.fetch(_STOP, now, limit))
    await _count(session, Counter(), stopped)
    return stopped.total()


async def claim_cancels(session: AsyncSession, limit: int) -> list[CancelRow]:
    """Lock items of jobs that are to end whose commands nobody cancels yet."""
    connection = await driver_connection(session)
    return [CancelRow(**dict(row)) for row in await connection.fetch(_TO_CANCEL, limit)]


async def write_cancels(
    session: AsyncSession, rows: Sequence[tuple[CancelRow, UUID | None, str | None]]
) -> None:
    """Write which command cancels an item's, or why none does."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _CANCELS,
        [row.job_id for row, _, _ in rows],
        [row.position for row, _, _ in rows],
        [cancel for _, cancel, _ in rows],
        [code for _, _, code in rows],
    )


async def finish_jobs(session: AsyncSession, now: datetime, limit: int) -> list[FinishedRow]:
    """End jobs all of whose items are decided and all of whose commands have ended, and keep how."""
    connection = await driver_connection(session)
    return [FinishedRow(**dict(row)) for row in await connection.fetch(_FINISH, now, limit)]


async def waiting_counts(session: AsyncSession) -> tuple[dict[str, int], int]:
    """Return how many commands wait to be signed, by kind, and how many items of jobs are no commands yet."""
    connection = await driver_connection(session)
    rows = await connection.fetch(
        "SELECT kind, count(*) AS waiting FROM command WHERE state = 'requested' GROUP BY kind"
    )
    items = await connection.fetchval(
        "SELECT coalesce(sum(total - made - refused), 0) FROM job WHERE state IN ('running', 'cancelling')"
    )
    return {row["kind"]: row["waiting"] for row in rows}, int(items)


async def _count(session: AsyncSession, made: Counter[UUID], refused: Counter[UUID]) -> None:
    jobs = sorted(made.keys() | refused.keys())
    if jobs:
        connection = await driver_connection(session)
        await connection.execute(_COUNT, jobs, [made[job] for job in jobs], [refused[job] for job in jobs])
