"""How a program reaches PostgreSQL: one bounded pool, and no statement without a deadline.

Guarantees:

- Every connection carries a statement timeout, a lock timeout and an idle-in-transaction timeout on the server,
  and a slightly longer command timeout on the client for a server that no longer answers.
- `synchronous_commit` is on, whatever the database's default: what an API confirmed survives a crash.
- A dead connection is noticed when it is taken out of the pool (pre-ping), not by the caller's first query.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import NullPool

from redflag_store.errors import StoreError

CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_S: Final = 30
COMMAND_GRACE_S: Final = 5  # client-side seconds beyond the statement timeout
LOCK_TIMEOUT_S: Final = 10
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 60
POOL_TIMEOUT_S: Final = 10  # how long a session waits for a free connection
POOL_RECYCLE_S: Final = 1800

_DRIVERS: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})


class DatabaseUrlRefusedError(StoreError):
    """The database URL is not one of PostgreSQL; the text never holds the password."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database URL is not usable: {reason}")
        self.reason = reason


class DatabaseUnreachableError(StoreError):
    """No connection to the database could be opened."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database cannot be reached: {reason}")
        self.reason = reason


def database_url(url: str | URL) -> URL:
    """`url` (postgresql://user:password@host:port/database) with the asyncpg driver.

    `sslmode` is understood as libpq means it and handed to asyncpg by its own name.

    Raises:
        DatabaseUrlRefusedError: another scheme, no database name, or no URL at all.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlRefusedError("it does not parse as scheme://user:password@host:port/name") from None
    if parsed.drivername not in _DRIVERS:
        raise DatabaseUrlRefusedError(f"scheme {parsed.drivername!r}, expected postgresql://")
    if not parsed.database:
        raise DatabaseUrlRefusedError("it names no database")
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def driver_dsn(url: str | URL) -> str:
    """`url` as asyncpg itself reads it, for connections outside of SQLAlchemy.

    Raises:
        DatabaseUrlRefusedError: see `database_url`.
    """
    parsed = database_url(url)
    query = dict(parsed.query)
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    return parsed.set(drivername="postgresql", query=query).render_as_string(hide_password=False)


def server_settings(
    application_name: str, statement_timeout_s: float = STATEMENT_TIMEOUT_S
) -> dict[str, str]:
    """The settings every connection starts with, in the form asyncpg sends them."""
    return {
        "application_name": application_name,
        "TimeZone": "UTC",
        "synchronous_commit": "on",
        "statement_timeout": f"{int(statement_timeout_s * 1000)}ms",
        "lock_timeout": f"{LOCK_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S}s",
        # Our statements are short; compiling them costs more than it saves.
        "jit": "off",
    }


def open_engine(
    url: str | URL,
    *,
    pool_size: int = 5,
    application_name: str = "redflag",
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> AsyncEngine:
    """An engine with at most `pool_size` connections; nothing is connected yet.

    The caller disposes of it (`await engine.dispose()`).

    Raises:
        DatabaseUrlRefusedError: see `database_url`.
    """
    return create_async_engine(
        database_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_recycle=POOL_RECYCLE_S,
        pool_pre_ping=True,
        connect_args=_connect_args(application_name, statement_timeout_s),
    )


@asynccontextmanager
async def one_connection(
    url: str | URL, *, application_name: str, statement_timeout_s: float = STATEMENT_TIMEOUT_S
) -> AsyncIterator[AsyncConnection]:
    """A single connection without a pool, for work at start-up; closed at the end of the block.

    Raises:
        DatabaseUrlRefusedError: see `database_url`.
        DatabaseUnreachableError: it could not be opened.
    """
    engine = create_async_engine(
        database_url(url),
        poolclass=NullPool,
        connect_args=_connect_args(application_name, statement_timeout_s),
    )
    try:
        try:
            connection = await engine.connect()
        except (OSError, TimeoutError, SQLAlchemyError) as error:
            reason = str(getattr(error, "orig", None) or error)
            raise DatabaseUnreachableError(reason or type(error).__name__) from error
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await engine.dispose()


def _connect_args(application_name: str, statement_timeout_s: float) -> dict[str, Any]:
    return {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": statement_timeout_s + COMMAND_GRACE_S,
        "server_settings": server_settings(application_name, statement_timeout_s),
    }


def sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """A maker of sessions whose objects stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def driver_connection(session: AsyncSession) -> Any:  # noqa: ANN401  # asyncpg ships no types
    """The asyncpg connection under `session`, inside the session's transaction.

    For bulk work (`unnest`, COPY). SQLAlchemy opens the transaction with its own first statement only, so one
    is sent when none is open: without it the driver would commit each statement by itself.
    """
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    if raw is None:
        raise RuntimeError("the connection pool handed out no driver connection")
    if not raw.is_in_transaction():
        await session.execute(text("SELECT 1"))
    return raw
