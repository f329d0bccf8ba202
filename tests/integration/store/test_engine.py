import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from redflag_store.engine import driver_connection, open_engine, sessions
from redflag_store.tables import Agent
from tests.integration.store.rows import agent_row, opened

INSERT = (
    "INSERT INTO system_event (id, at, severity, component, code, message) SELECT gen_random_uuid(), now(), "
)


async def test_driver_connection_is_inside_the_transaction(database: str) -> None:
    async with opened(database) as make:
        async with make() as session:
            driver = await driver_connection(session)
            await driver.execute(INSERT + "'info', 'c', x, 'm' FROM unnest($1::text[]) AS t (x)", ["a", "b"])
            await session.rollback()
        async with make() as session:
            assert await session.scalar(text("SELECT count(*) FROM system_event")) == 0
        async with make.begin() as session:
            driver = await driver_connection(session)
            await driver.execute(INSERT + "'info', 'c', x, 'm' FROM unnest($1::text[]) AS t (x)", ["a", "b"])
        async with make() as session:
            assert await session.scalar(text("SELECT count(*) FROM system_event")) == 2


async def test_statement_beyond_its_deadline_is_cancelled(database: str) -> None:
    engine = open_engine(database, statement_timeout_s=0.05)
    try:
        async with sessions(engine)() as session:
            with pytest.raises(DBAPIError, match="statement timeout"):
                await session.execute(text("SELECT pg_sleep(5)"))
    finally:
        await engine.dispose()


async def test_connection_has_its_settings(database: str) -> None:
    async with opened(database) as make, make() as session:
        for name, value in {
            "application_name": "store-tests",
            "TimeZone": "UTC",
            "synchronous_commit": "on",
            "idle_in_transaction_session_timeout": "1min",
            "lock_timeout": "10s",
            "statement_timeout": "30s",
        }.items():
            assert await session.scalar(text(f"SELECT current_setting('{name}')")) == value


async def test_row_comes_back_as_it_was(database: str) -> None:
    row = agent_row()
    row.tags, row.capabilities = {"env": "prod"}, [{"manager": "apt", "can_install": True, "reason": ""}]
    id_, created = row.id, row.created_at
    async with opened(database) as make:
        async with make.begin() as session:
            session.add(row)
        async with make() as session:
            found = (await session.scalars(select(Agent))).one()
    assert (found.id, found.created_at, found.tags) == (id_, created, {"env": "prod"})
    assert found.capabilities[0]["manager"] == "apt"


async def test_lost_connection_is_replaced_before_use(database: str) -> None:
    async with opened(database, pool_size=1) as make, opened(database) as other:
        async with make() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        async with other.begin() as session:
            await session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        async with make() as session:
            assert await session.scalar(text("SELECT 1")) == 1
