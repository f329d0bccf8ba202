import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from redflag_store import migrate
from redflag_store.engine import DatabaseUnreachableError, one_connection
from redflag_store.metadata import metadata
from redflag_store.migrate import (
    MIGRATIONS,
    MigrationFailedError,
    UpgradeBusyError,
    check,
    current,
    head,
    upgrade,
)
from redflag_store.months import is_month_table
from tests.support.postgres import PostgresServer

FAILING = '''"""A migration that breaks half way."""

from alembic import op

revision = "{revision}"
down_revision = "{down}"


def upgrade() -> None:
    op.execute("CREATE TABLE half_done (id integer)")
    {body}
'''


def planted(tmp_path: Path, body: str) -> Path:
    """The package's migrations with a failing one behind them."""
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = FAILING.format(revision="9999_planted", down=head(), body=body)
    (copy / "versions" / "9999_planted.py").write_text(source)
    return copy


async def tables_of(url: str) -> set[str]:
    async with one_connection(url, application_name="tests") as connection:
        rows = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return set(rows)


async def test_upgrade_of_an_empty_database_reaches_the_head(empty_database: str) -> None:
    assert await current(empty_database) is None
    assert await upgrade(empty_database) == head() == await current(empty_database)
    assert set(metadata.tables) <= await tables_of(empty_database)


async def test_second_upgrade_changes_nothing(database: str) -> None:
    before = await tables_of(database)
    assert await upgrade(database) == head()
    assert await tables_of(database) == before


async def test_models_and_migrations_agree(database: str) -> None:
    assert await check(database) == []


async def test_check_names_what_differs(database: str) -> None:
    async with one_connection(database, application_name="tests") as connection:
        await connection.execute(text("ALTER TABLE command DROP COLUMN stdout"))
        await connection.execute(text("DROP INDEX ix_outbox_due"))
        await connection.commit()
    differences = await check(database)
    assert len(differences) == 2
    assert any("stdout" in line for line in differences)
    assert any("ix_outbox_due" in line for line in differences)


CATALOG = {
    "constraints": (
        "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace"
    ),
    "indexes": "SELECT tablename || ' ' || indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "columns": (
        "SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || "
        "coalesce(column_default, '-') FROM information_schema.columns WHERE table_schema = 'public'"
    ),
}


async def catalog(url: str) -> dict[str, set[str]]:
    async with one_connection(url, application_name="tests") as connection:
        return {
            name: {
                line
                for line in await connection.scalars(text(query))
                if not is_month_table(line.split()[0]) and not line.startswith("alembic_version")
            }
            for name, query in CATALOG.items()
        }


async def test_catalog_of_migrations_is_that_of_the_models(database: str, empty_database: str) -> None:
    # Sees what `check` does not: check constraints, predicates of partial indexes, exact defaults.
    async with one_connection(empty_database, application_name="tests") as connection:
        await connection.run_sync(metadata.create_all)
        await connection.commit()
    assert await catalog(database) == await catalog(empty_database)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('op.execute("SELECT 1 / 0")', "division by zero"),
        ('raise RuntimeError("no way on")', "RuntimeError: no way on"),
    ],
)
async def test_failed_migration_is_named_and_not_marked(
    empty_database: str, tmp_path: Path, body: str, reason: str
) -> None:
    migrations = planted(tmp_path, body)
    with pytest.raises(MigrationFailedError) as caught:
        await upgrade(empty_database, migrations=migrations)
    assert caught.value.revision == "9999_planted"
    assert reason in caught.value.reason
    assert await current(empty_database) == head()
    assert "half_done" not in await tables_of(empty_database)
    # The lock is free and the database usable: the good migrations still apply.
    assert await upgrade(empty_database) == head()


async def events_of(url: str) -> list[tuple[str, str]]:
    async with one_connection(url, application_name="tests") as connection:
        rows = await connection.execute(text("SELECT code, data::text FROM system_event ORDER BY at"))
        return [(row[0], row[1]) for row in rows]


async def test_what_was_applied_and_what_failed_is_told(empty_database: str, tmp_path: Path) -> None:
    await upgrade(empty_database)
    await upgrade(empty_database)  # nothing to do, nothing to tell
    assert await events_of(empty_database) == []
    with pytest.raises(MigrationFailedError):
        await upgrade(empty_database, migrations=planted(tmp_path / "bad", 'op.execute("SELECT 1 / 0")'))
    await upgrade(empty_database, migrations=planted(tmp_path / "good", 'op.execute("SELECT 1")'))
    (failed, done) = await events_of(empty_database)
    assert failed[0] == "migration_failed"
    assert "division by zero" in failed[1]
    assert done == ("migrated", '{"applied": ["9999_planted"]}')


async def test_newer_database_is_refused(database: str) -> None:
    async with one_connection(database, application_name="tests") as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'from_tomorrow'"))
        await connection.commit()
    with pytest.raises(MigrationFailedError) as caught:
        await upgrade(database)
    assert caught.value.revision == "from_tomorrow"
    assert await current(database) == "from_tomorrow"


async def test_three_upgrades_at_once_all_succeed(empty_database: str) -> None:
    assert await asyncio.gather(*(upgrade(empty_database) for _ in range(3))) == [head()] * 3


async def test_upgrade_gives_up_on_one_that_never_ends(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "UPGRADE_WAIT_S", 1)
    async with one_connection(empty_database, application_name="tests") as connection:
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": migrate._LOCK_KEY})
        with pytest.raises(UpgradeBusyError):
            await upgrade(empty_database)
    assert await upgrade(empty_database) == head()


async def test_unreachable_database_is_named() -> None:
    with pytest.raises(DatabaseUnreachableError):
        await upgrade("postgresql://u:p@127.0.0.1:1/none")


async def test_owner_need_not_be_a_superuser(postgres_server: PostgresServer) -> None:
    postgres_server.run(
        "CREATE ROLE plain_owner LOGIN CREATEROLE PASSWORD 'plain'", "CREATE DATABASE plain OWNER plain_owner"
    )
    try:
        url = postgres_server.url("plain", "plain_owner", "plain")
        assert await upgrade(url) == head()
        assert await check(url) == []
    finally:
        postgres_server.run("DROP DATABASE plain WITH (FORCE)", "DROP ROLE plain_owner")
