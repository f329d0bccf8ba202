"""Read the first rows of a queue by its index, whatever the planner believes about how many rows wait.

Queues are empty most of the time, so the statistics say that sorting what waits costs nothing. When a hundred thousand
rows wait all at once, a plan that sorts them for each batch takes half a second where the index takes half a
millisecond. So a plan in the order of the index is preferred for these statements.
"""

from typing import Any

from asyncpg import Record
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


async def fetch_in_order(session: AsyncSession, statement: str, *values: Any) -> list[Record]:  # noqa: ANN401
    """Run a statement whose ORDER BY an index has; the caller's transaction plans all others as ever."""
    connection = await driver_connection(session)
    await connection.execute("SET LOCAL enable_sort = off")
    rows: list[Record] = await connection.fetch(statement, *values)
    await connection.execute("SET LOCAL enable_sort = on")
    return rows
