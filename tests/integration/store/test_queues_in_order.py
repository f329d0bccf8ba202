"""A queue is read in the order of its index, whatever the statistics say; other statements are planned as ever."""

from sqlalchemy import text

from redflag_store.queries.in_order import fetch_in_order
from tests.integration.store.rows import opened
from tests.support.postgres import DatabaseUrl

ASK = "SELECT current_setting('enable_sort') AS sorts"


async def test_sorting_is_out_of_favour_for_one_statement(database: DatabaseUrl) -> None:
    async with opened(database.dispatcher) as make, make.begin() as session:
        (row,) = await fetch_in_order(session, ASK)
        assert row["sorts"] == "off"
        assert await session.scalar(text(ASK)) == "on"
