"""update_lists: what lists, filters and counts of updates cost the server at 100,000 hosts and 5,000,000 updates.

The statements are the store's own, on the migrated schema, with a second dispatcher's worth of nothing beside them; the
seed goes past the triggers, and a recount makes the counters, which is measured too.
"""

import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from redflag_store.engine import open_engine, sessions
from redflag_store.queries.tallies import fold, recount
from redflag_store.queries.updates import UpdateFilter, count_updates, list_updates, updates_of_host
from tests.bench.figures import Figures
from tests.support.postgres import running_postgres

HOSTS = int(os.environ.get("REDFLAG_BENCH_HOSTS", "100000"))
UPDATES = 50
ROUNDS = 15
SERVER = "ms, the median"

SEED = f"""
SET session_replication_role = replica;
SET synchronous_commit = off;
DROP INDEX ix_package_state_listed, ix_package_state_by_state;
ALTER TABLE package_state DROP CONSTRAINT pk_package_state;
INSERT INTO agent (id, hostname, machine_id, state, akt, created_at)
SELECT md5('h' || n)::uuid, 'host-' || n, md5('m' || n), 'active', md5('a' || n), now()
FROM generate_series(1, {HOSTS}) n;
INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, origin, suite, security, severity,
                           availability, size, state, first_seen_at, changed_at)
SELECT md5('h' || n)::uuid, 'apt', 'package-' || lpad(((n % 20) * 7 + p * 8)::text, 4, '0'), 'amd64',
       '1.2.' || n % 20 || '-0ubuntu1', '1.2.' || n % 20 || '-0ubuntu1.4', 'Ubuntu', 'noble-updates', p % 5 = 0,
       CASE p % 25 WHEN 0 THEN 'critical' END, 'available', 1234567,
       CASE WHEN p = 7 AND n % 1000 = 0 THEN 'failed' WHEN p % 10 = 3 THEN 'approved' ELSE 'pending' END, now(), now()
FROM generate_series(1, {HOSTS}) n, generate_series(1, {UPDATES}) p;
ALTER TABLE package_state ADD CONSTRAINT pk_package_state PRIMARY KEY (agent_id, manager, name, arch);
CREATE INDEX ix_package_state_listed ON package_state (name, manager, arch, agent_id) WHERE state <> 'updated';
CREATE INDEX ix_package_state_by_state ON package_state (state, name, manager, arch, agent_id)
"""  # noqa: S608 - constants only

HOST = UUID(hashlib.md5(b"h7777", usedforsecurity=False).hexdigest())
MIDDLE = ("package-0200", "apt", "amd64", HOST)


def _list(after: Any = None, **wanted: Any) -> Callable[[Any], Awaitable[object]]:
    return lambda session: list_updates(session, UpdateFilter(**wanted), after=after, limit=50)


def _count(**wanted: Any) -> Callable[[Any], Awaitable[object]]:
    return lambda session: count_updates(session, UpdateFilter(**wanted))


WORK: dict[str, Callable[[Any], Awaitable[object]]] = {
    "list, first page": _list(),
    "list, a middle page": _list(MIDDLE),
    "list, security": _list(security=True),
    "list, failed": _list(state="failed"),
    "list, critical, a middle page": _list(MIDDLE, severity="critical"),
    "list, text in the name": _list(name="-02"),
    "list, of a host": _list(agent_id=HOST),
    "all updates of a host": lambda session: updates_of_host(session, HOST),
    "counts over everything": _count(),
    "counts, text in the name": _count(name="-0200"),
    "counts, of a host": _count(agent_id=HOST),
}


async def measure() -> Figures:
    """Seed, recount, and ask each question some times."""
    found = Figures(
        "update_lists",
        "lists and counts of updates, in the server",
        (SERVER, "slowest"),
        {"hosts": HOSTS, "each": UPDATES},
    )
    with running_postgres() as server, server.new_database(migrated=True) as url:
        engine = open_engine(url, pool_size=1, application_name="bench", statement_timeout_s=600)
        try:
            make = sessions(engine)
            async with engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                if raw is None:
                    raise RuntimeError("no connection")
                await raw.execute(SEED, timeout=500)
                await raw.execute("RESET session_replication_role")
                await raw.execute("VACUUM ANALYZE", timeout=300)
            before = time.perf_counter()
            async with make() as session, session.begin():
                await recount(session)
            found.add("recount of all, s", SERVER, time.perf_counter() - before)
            async with make.begin() as session:
                await fold(session, entries=0)
            for figure, ask in WORK.items():
                times = []
                for _ in range(ROUNDS):
                    async with make() as session:
                        before = time.perf_counter()
                        await ask(session)
                        times.append((time.perf_counter() - before) * 1000)
                found.add(f"{figure}, ms", SERVER, *times)
                found.add(f"{figure}, ms", "slowest", max(times[1:]))
        finally:
            await engine.dispose()
    return found
