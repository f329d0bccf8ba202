"""Which hosts poll fast: columns of `agent`, written from the hosts' own reports only."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection

_WRITE = """
UPDATE agent a SET fast_until = n.until, fast_forever = n.forever
FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[]) AS n (id, until, forever) WHERE a.id = n.id
"""

# In fast mode nothing waits only to be spread.
_NO_WAIT = """
UPDATE subsystem SET next_run_at = due_at WHERE agent_id = ANY($1::uuid[]) AND next_run_at > due_at
"""


async def write_fast_modes(
    session: AsyncSession, modes: Sequence[tuple[UUID, datetime | None, bool]]
) -> None:
    """Write (host, end or None, until stopped) for each host, once; what is due at a fast host waits no longer."""
    if not modes:
        return
    connection = await driver_connection(session)
    await connection.execute(_WRITE, *[list(column) for column in zip(*modes, strict=True)])
    fast = [agent for agent, until, forever in modes if forever or until is not None]
    if fast:
        await connection.execute(_NO_WAIT, fast)


def is_fast(until: datetime | None, forever: bool, now: datetime) -> bool:
    """Whether a host polls fast: until it is stopped, or its end has not come."""
    return forever or (until is not None and until > now)
