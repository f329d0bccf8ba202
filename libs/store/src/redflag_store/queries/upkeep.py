"""Remove what is older than its retention, in bounded batches.

Rows are removed by functions of the database that run with its owner's rights and refuse to forget what is young
(migration 0007); no program may delete records itself. What was done to packages stays in
`update_history` for ever, under its own times.
"""

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection

_LOCK: Final = "SELECT pg_try_advisory_xact_lock(1380339022)"


async def alone(session: AsyncSession) -> bool:
    """Whether no other program does this work at the moment; if so, none does until the transaction ends."""
    connection = await driver_connection(session)
    return bool(await connection.fetchval(_LOCK))


async def prune_commands(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove commands that ended before, with their events, signing records and plans; return how many."""
    return await _call(session, "redflag_prune_commands", before, limit)


async def prune_reports(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove reports stored before, but never the newest of each of a host's keys; return how many."""
    return await _call(session, "redflag_prune_reports", before, limit)


async def prune_system_events(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove system events from before; return how many."""
    return await _call(session, "redflag_prune_system_events", before, limit)


async def prune_jobs(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove jobs that were over before, items first; return how many items."""
    return await _call(session, "redflag_prune_jobs", before, limit)


async def prune_update_events(session: AsyncSession, before: datetime, limit: int) -> int:
    """Remove whole months of update events that ended before; return how many months."""
    return await _call(session, "redflag_prune_update_events", before, limit)


async def prune_idempotency(session: AsyncSession, before: datetime, limit: int) -> int:
    """Forget answers to requests from before; return how many."""
    return await _call(session, "redflag_prune_idempotency_keys", before, limit)


async def _call(session: AsyncSession, function: str, before: datetime, limit: int) -> int:
    connection = await driver_connection(session)
    statement = f"SELECT {function}($1::timestamptz, $2::integer)"
    return int(await connection.fetchval(statement, before, limit))
