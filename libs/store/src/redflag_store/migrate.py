"""Bring a database to this program's schema, or say exactly why not.

Guarantees:

- Each migration is one transaction: a failed one leaves nothing behind, is not marked as applied, stops the
  upgrade, and is named together with its reason. Those before it stay.
- Only one upgrade of a database runs at a time (a session advisory lock); a second one waits and finds the work
  done.
- A database at a revision this program does not know is refused, not touched.

There is no way down: a release that must be undone is followed by a migration that undoes it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError, RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from redflag_store import tables
from redflag_store.engine import one_connection
from redflag_store.errors import StoreError
from redflag_store.months import MONTHS_AHEAD, is_month_table

MIGRATIONS: Final = Path(__file__).parent / "migrations"
UPGRADE_STATEMENT_TIMEOUT_S: Final = 600
UPGRADE_WAIT_S: Final = 120  # how long a second upgrade waits for the first
_LOCK_KEY: Final = 0x52_46_4D_49  # "RFMI"
_LOCK_NOT_AVAILABLE: Final = "55P03"  # SQLSTATE
_MONTHS: Final = text(
    "SELECT redflag_ensure_update_event_partitions(CAST(now() AT TIME ZONE 'UTC' AS date), :months)"
)
_EVENT: Final = text(
    "INSERT INTO system_event (id, at, severity, component, code, message, data) VALUES "
    "(gen_random_uuid(), now(), :severity, 'database', :code, :message, CAST(:data AS jsonb))"
)

# Importing the tables is what fills the metadata.
_METADATA: Final = tables.Agent.metadata


class MigrationFailedError(StoreError):
    """A migration could not be applied; the database is where it was before that migration."""

    def __init__(self, revision: str, reason: str) -> None:
        super().__init__(f"migration {revision} failed: {reason}")
        self.revision = revision
        self.reason = reason


class UpgradeBusyError(StoreError):
    """Another upgrade of the same database did not end within `UPGRADE_WAIT_S` seconds."""

    def __init__(self) -> None:
        super().__init__(f"another upgrade has held the database for more than {UPGRADE_WAIT_S} s")


async def upgrade(url: str, *, migrations: Path = MIGRATIONS) -> str:
    """Apply every migration that is missing and return the revision reached.

    Also makes the coming months' partitions, so that each start of RedFlag leaves room ahead, and tells what was
    applied to a database in use, or what failed, in the system events.

    Args:
        url: the owner's; the roles' may not change tables.
        migrations: a folder holding `versions/`; another one than the package's own is for tests.

    Raises:
        MigrationFailedError: one failed, or the database is at a revision that is not known here.
        UpgradeBusyError: another one holds the lock.
        DatabaseUnreachableError: no connection.
        DatabaseUrlRefusedError: see `redflag_store.engine.database_url`.
    """
    async with _connect(url) as connection:
        await _lock(connection)
        try:
            before = await connection.run_sync(_revision)
            revision, applied = await connection.run_sync(_upgrade, ScriptDirectory(str(migrations)))
            with _named(lambda: f"{revision} (months of update_event)"):
                await connection.execute(_MONTHS, {"months": MONTHS_AHEAD})
                if applied and before is not None:  # a new database is no news
                    words = f"the database was brought to {revision}"
                    await connection.execute(_EVENT, _event("info", "migrated", words, {"applied": applied}))
                await connection.commit()
        except MigrationFailedError as error:
            await _tell_failed(connection, error)
            raise
        finally:
            # Also released by the server when this connection ends, should even this fail.
            await connection.rollback()
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
            await connection.commit()
    return revision


async def current(url: str) -> str | None:
    """The revision the database is at, or None before the first migration.

    Raises:
        DatabaseUnreachableError: no connection.
    """
    async with _connect(url) as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def head(migrations: Path = MIGRATIONS) -> str:
    """The revision this program expects."""
    revision = ScriptDirectory(str(migrations)).get_current_head()
    if revision is None:
        raise MigrationFailedError("none", "the folder of migrations is empty")
    return revision


async def check(url: str) -> list[str]:
    """Differences between the models and the database, one line each; empty when they agree.

    Tables, columns, types, defaults' presence, indexes, unique and foreign keys; not check constraints.
    """
    async with _connect(url) as connection:
        return await connection.run_sync(
            lambda sync: [str(d) for d in compare_metadata(_context(sync), _METADATA)]
        )


async def draft(url: str) -> str:
    """The Python body of a migration from the database to the models, for its author to read and correct."""
    async with _connect(url) as connection:
        return await connection.run_sync(_draft)


def _draft(connection: Connection) -> str:
    context = _context(connection)
    operations = produce_migrations(context, _METADATA).upgrade_ops
    if operations is None:
        return "pass"
    return str(render_python_code(operations, migration_context=context))


def _context(connection: Connection, **opts: Any) -> MigrationContext:  # noqa: ANN401  # alembic's own options
    return MigrationContext.configure(
        connection,
        opts={
            "target_metadata": _METADATA,
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _parents: (
                not (kind == "table" and name and is_month_table(name))
            ),
            "transaction_per_migration": True,
            **opts,
        },
    )


def _revision(connection: Connection) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()
    return revision


def _event(severity: str, code: str, message: str, data: dict[str, Any]) -> dict[str, str]:
    return {"severity": severity, "code": code, "message": message, "data": json.dumps(data)}


async def _tell_failed(connection: AsyncConnection, error: MigrationFailedError) -> None:
    """Write the failure where operators look, when the database has come far enough to hold it."""
    data = {"revision": error.revision, "reason": error.reason[:2_000]}
    with suppress(DBAPIError):
        await connection.rollback()
        words = f"migration {error.revision} failed"
        await connection.execute(_EVENT, _event("critical", "migration_failed", words, data))
        await connection.commit()


def _upgrade(connection: Connection, scripts: ScriptDirectory) -> tuple[str, list[str]]:
    applied: list[str] = []
    planned: list[str] = []

    def plan(revision: tuple[str, ...], _context: MigrationContext) -> list[Any]:
        steps = scripts._upgrade_revs("head", revision)  # type: ignore[arg-type]  # as alembic.command does
        planned.extend(step.revision.revision for step in steps)
        return steps

    def remember(*, step: Any, **_: Any) -> None:  # noqa: ANN401  # alembic's own signature
        applied.append(step.up_revision_id)

    context = _context(connection, fn=plan, on_version_apply=(remember,))
    at = context.get_current_revision()
    connection.rollback()  # alembic takes over an open transaction, and then commits nothing itself
    failing = _named(lambda: planned[len(applied)] if len(applied) < len(planned) else at or "none")
    with failing, Operations.context(context):
        context.run_migrations()
    reached = context.get_current_revision()
    if reached is None:
        raise MigrationFailedError("none", "the folder of migrations is empty")
    return reached, applied


@contextmanager
def _named(revision: Callable[[], str]) -> Iterator[None]:
    """Turn whatever a migration raises into MigrationFailedError naming it."""
    try:
        yield
    except (CommandError, RevisionError, ResolutionError) as error:
        raise MigrationFailedError(revision(), f"this program does not know it: {error}") from error
    except DBAPIError as error:
        raise MigrationFailedError(revision(), str(error.orig).strip()) from error
    except Exception as error:
        raise MigrationFailedError(revision(), f"{type(error).__name__}: {error}") from error


def _connect(url: str) -> AbstractAsyncContextManager[AsyncConnection]:
    return one_connection(
        url, application_name="redflag-migrate", statement_timeout_s=UPGRADE_STATEMENT_TIMEOUT_S
    )


async def _lock(connection: AsyncConnection) -> None:
    await connection.execute(text(f"SET lock_timeout = '{UPGRADE_WAIT_S}s'"))
    try:
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise UpgradeBusyError from error
        raise
    await connection.execute(text("RESET lock_timeout"))
    await connection.commit()
