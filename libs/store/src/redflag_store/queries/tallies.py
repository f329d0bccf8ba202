"""The counters that triggers keep: reading them, folding their entries together, and repairs.

A tally is the sum of its entries, and each statement that changes what is counted appends what it changed, in its own
transaction; so the sum is exact in every snapshot. `fold` keeps the entries few. `recount` compares with a real count
in one snapshot and appends the difference: there should never be one, and what it finds is told (docs/updates.md).
"""

from collections.abc import Collection
from typing import Any, Final

from asyncpg import SerializationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.engine import driver_connection
from redflag_store.errors import StoreError
from redflag_store.tables import Tally

FOLD_LOCK: Final = 1380339030  # advisory: one pass at a time

_UPDATE_KEY: Final = "manager, name, arch, state, security, severity, availability"
_OPEN: Final = "state NOT IN ('updated', 'rejected', 'ignored')"

_FOLDS: Final = (
    f"""
    WITH old AS (DELETE FROM update_tally RETURNING *)
    INSERT INTO update_tally ({_UPDATE_KEY}, hosts)
    SELECT {_UPDATE_KEY}, sum(hosts) FROM old GROUP BY {_UPDATE_KEY} HAVING sum(hosts) <> 0
    """,  # noqa: S608
    """
    WITH old AS (DELETE FROM tally RETURNING *)
    INSERT INTO tally (subject, a, b, rows)
    SELECT subject, a, b, sum(rows) FROM old GROUP BY subject, a, b HAVING sum(rows) <> 0
    """,
)
_ENTRIES: Final = (
    "SELECT (SELECT count(*) FROM update_tally) - (SELECT count(*) FROM (SELECT DISTINCT "  # noqa: S608
    f"{_UPDATE_KEY} FROM update_tally) d) + (SELECT count(*) FROM tally) "
    "- (SELECT count(*) FROM (SELECT DISTINCT subject, a, b FROM tally) d)"
)

_RECOUNT_UPDATES: Final = f"""
INSERT INTO update_tally ({_UPDATE_KEY}, hosts)
SELECT {_UPDATE_KEY}, sum(n) FROM (
    SELECT {_UPDATE_KEY}, count(*) AS n FROM package_state GROUP BY {_UPDATE_KEY}
    UNION ALL SELECT {_UPDATE_KEY}, -hosts FROM update_tally
) c GROUP BY {_UPDATE_KEY} HAVING sum(n) <> 0
"""  # noqa: S608
_RECOUNT_HOSTS: Final = f"""
INSERT INTO agent_update_count AS c (agent_id, open, security, approved, failed, held_back)
SELECT coalesce(r.agent_id, k.agent_id), coalesce(r.open, 0), coalesce(r.security, 0), coalesce(r.approved, 0),
       coalesce(r.failed, 0), coalesce(r.held_back, 0)
FROM (SELECT agent_id, count(*) FILTER (WHERE {_OPEN}) AS open,
             count(*) FILTER (WHERE {_OPEN} AND security) AS security,
             count(*) FILTER (WHERE {_OPEN} AND approved_version = candidate) AS approved,
             count(*) FILTER (WHERE state = 'failed') AS failed,
             count(*) FILTER (WHERE {_OPEN} AND availability <> 'available') AS held_back
      FROM package_state GROUP BY agent_id) r
FULL JOIN agent_update_count k ON k.agent_id = r.agent_id
WHERE (coalesce(r.open, 0), coalesce(r.security, 0), coalesce(r.approved, 0), coalesce(r.failed, 0),
       coalesce(r.held_back, 0))
   IS DISTINCT FROM (coalesce(k.open, 0), coalesce(k.security, 0), coalesce(k.approved, 0), coalesce(k.failed, 0),
                     coalesce(k.held_back, 0))
ON CONFLICT (agent_id) DO UPDATE SET open = EXCLUDED.open, security = EXCLUDED.security,
    approved = EXCLUDED.approved, failed = EXCLUDED.failed, held_back = EXCLUDED.held_back
"""  # noqa: S608
_RECOUNT_ROWS: Final = """
INSERT INTO tally (subject, a, b, rows)
SELECT subject, a, b, sum(n) FROM (
    SELECT 'command' AS subject, state AS a, kind AS b, count(*) AS n FROM command GROUP BY state, kind
    UNION ALL SELECT 'event', severity, component, count(*) FROM system_event GROUP BY severity, component
    UNION ALL SELECT 'hosts_open', '', '', count(*) FROM agent_update_count WHERE open > 0
    UNION ALL SELECT subject, a, b, -rows FROM tally
) c GROUP BY subject, a, b HAVING sum(n) <> 0
"""


async def tally_of(
    session: AsyncSession, subject: str, *, a: Collection[str] | None = None, b: str | None = None
) -> int:
    """The number of rows counted under a subject, of these values where given."""
    statement: Any = select(func.coalesce(func.sum(col(Tally.rows)), 0)).where(col(Tally.subject) == subject)
    if a is not None:
        statement = statement.where(col(Tally.a).in_(sorted(a)))
    if b is not None:
        statement = statement.where(col(Tally.b) == b)
    return int(await session.scalar(statement) or 0)


async def hosts_with_open_updates(session: AsyncSession) -> int:
    """How many hosts have at least one update that is not at rest."""
    return await tally_of(session, "hosts_open")


async def fold(session: AsyncSession, *, entries: int) -> bool:
    """Fold the entries of the tallies together when there are more than `entries` to spare; the caller commits.

    Returns:
        Whether it was done; not when another pass is at it.
    """
    connection = await driver_connection(session)
    if await connection.fetchval(_ENTRIES) <= entries:
        return False
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", FOLD_LOCK):
        return False
    for statement in _FOLDS:
        await connection.execute(statement)
    return True


class RecountDisturbedError(StoreError):
    """A host's counters changed during a recount: nothing was written."""


async def recount(session: AsyncSession, *, timeout_s: int = 300) -> int:
    """Compare every counter with a real count and repair what differs; returns how many did.

    It reads all of the large tables, so it is for once a day. It runs in one snapshot, so the session must be fresh;
    the caller commits.

    Raises:
        RecountDisturbedError: try again another time.
    """
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    connection = await driver_connection(session)
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", FOLD_LOCK):
        return 0
    await connection.execute(f"SET LOCAL statement_timeout = '{int(timeout_s)}s'")
    found = 0
    for statement in (_RECOUNT_UPDATES, _RECOUNT_HOSTS, _RECOUNT_ROWS):
        try:
            tag = await connection.execute(statement, timeout=timeout_s)
        except SerializationError:
            raise RecountDisturbedError("a host's counters changed during the recount") from None
        found += int(tag.rsplit(" ", 1)[1])
    return found
