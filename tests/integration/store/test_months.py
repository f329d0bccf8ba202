from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.months import MONTHS_AHEAD, ensure_partitions
from redflag_store.tables import UpdateEvent
from redflag_wire.clock import ManualClock
from tests.integration.store.rows import CLOCK, agent_row, opened
from tests.support.postgres import DatabaseUrl


async def partitions(session: AsyncSession) -> dict[str, str]:
    rows = await session.execute(
        text(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'update_event'::regclass"
        )
    )
    return {row.relname: row.bound for row in rows}


async def test_migration_makes_this_month_and_the_next(database: DatabaseUrl) -> None:
    now = datetime.now(UTC)
    following = (now.replace(day=1) + timedelta(days=32)).replace(day=1)
    async with opened(database) as make, make() as session:
        made = await partitions(session)
    assert {f"update_event_{now:%Y_%m}", f"update_event_{following:%Y_%m}", "update_event_default"} <= set(
        made
    )
    bound = made[f"update_event_{now:%Y_%m}"]
    assert f"'{now:%Y-%m}-01 00:00:00+00'" in bound
    assert f"'{following:%Y-%m}-01 00:00:00+00'" in bound


async def test_later_month_takes_over_what_the_default_caught(database: DatabaseUrl) -> None:
    later = datetime.now(UTC).replace(day=15) + timedelta(days=200)
    agent = agent_row()
    agent_id = agent.id
    async with opened(database) as make, make.begin() as session:
        session.add(agent)
        await session.flush()
        session.add(
            UpdateEvent(
                id=agent_id, at=later, agent_id=agent_id, manager="apt", name="n", arch="a", kind="gone"
            )
        )
    name = f"update_event_{later:%Y_%m}"
    where = text("SELECT tableoid::regclass::text FROM update_event")
    async with opened(database.dispatcher) as make, make.begin() as session:
        assert await session.scalar(where) == "update_event_default"
        assert await ensure_partitions(session, ManualClock(later)) == MONTHS_AHEAD
        assert await session.scalar(where) == name
        assert await ensure_partitions(session, ManualClock(later)) == 0
        assert name in await partitions(session)


async def test_month_table_has_the_parents_keys(database: DatabaseUrl) -> None:
    month = f"update_event_{datetime.now(UTC):%Y_%m}"
    async with opened(database) as make, make() as session:
        kinds = await session.scalars(
            text(
                "SELECT contype::text FROM pg_constraint WHERE conrelid = CAST(:name AS regclass) AND contype <> 'n'"
            ),
            {"name": month},
        )
        assert sorted(kinds) == ["c", "f", "p"]


@pytest.mark.parametrize("months", [0, 25])
async def test_unreasonable_number_of_months_is_refused(database: DatabaseUrl, months: int) -> None:
    async with opened(database.dispatcher) as make, make() as session:
        with pytest.raises(DBAPIError, match="months must be"):
            await ensure_partitions(session, CLOCK, months=months)


async def test_month_far_away_is_refused(database: DatabaseUrl) -> None:
    async with opened(database.dispatcher) as make, make() as session:
        with pytest.raises(DBAPIError, match="within a year"):
            await ensure_partitions(session, ManualClock(datetime(2040, 1, 1, tzinfo=UTC)))
