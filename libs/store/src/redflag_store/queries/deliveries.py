"""How often a command was handed to its host; nothing here says that the host took it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection

_DELIVERIES = """
WITH delivered AS (
    SELECT c.id, n.times FROM command c
    JOIN unnest($1::uuid[], $2::uuid[], $3::integer[]) AS n (id, agent, times)
         ON n.id = c.id AND n.agent = c.agent_id
    ORDER BY c.id FOR NO KEY UPDATE OF c
)
UPDATE command c SET deliveries = c.deliveries + delivered.times, last_delivery_at = $4
FROM delivered WHERE c.id = delivered.id
"""


async def count_deliveries(
    session: AsyncSession, delivered: Sequence[tuple[UUID, UUID, int]], at: datetime
) -> None:
    """Add to the commands' delivery counts; each entry is (command, agent, times), each pair once.

    Args:
        session: the caller's transaction.
        delivered: counted only where the agent is the command's own.
        at: the server's time, kept as that of the last delivery.
    """
    if not delivered:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _DELIVERIES,
        [entry[0] for entry in delivered],
        [entry[1] for entry in delivered],
        [entry[2] for entry in delivered],
        at,
    )
