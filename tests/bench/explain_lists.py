"""explain_lists: how PostgreSQL answers every list, filter and count that operators see, at 100,000 hosts.

The fleet of `update_lists` (5,000,000 updates) with a million commands, lines of history, events of updates and system
events beside it. For each question: its time, and every table it reads, by which index and how many rows.
"""

import sys
import time

from redflag_store.engine import open_engine, sessions
from redflag_store.queries.tallies import fold, recount
from tests.bench import update_lists
from tests.bench.figures import Figures
from tests.bench.update_lists import HOSTS
from tests.support.list_questions import QUESTIONS
from tests.support.postgres import running_postgres
from tests.support.query_plans import plans_of, reads, scans

BESIDE = 10 * HOSTS  # rows of each other table
MUCH = BESIDE // 10  # rows: more than this from one index end to the other is a scan
ROUNDS = 5
SERVER, SCANS = "ms, the median", "large tables read whole"

SEED = f"""
SET session_replication_role = replica;
ALTER TABLE command DROP CONSTRAINT ck_command_signed_has_envelope;
INSERT INTO command (id, agent_id, kind, params, state, source, requested_by, requested_at)
SELECT md5('c' || n)::uuid, md5('h' || (1 + n % {HOSTS}))::uuid, 'scan', '{{}}',
       CASE WHEN n % 500 = 0 THEN 'running' ELSE 'succeeded' END, 'system', 'schedule', now() - n * interval '1 second'
FROM generate_series(1, {BESIDE}) n;
INSERT INTO update_history (id, agent_id, manager, name, arch, action, result, stored_at)
SELECT md5('u' || n)::uuid, md5('h' || (1 + n % {HOSTS}))::uuid, 'apt', 'package-' || n % 400, 'amd64', 'upgrade',
       'succeeded', now() - n * interval '1 second'
FROM generate_series(1, {BESIDE}) n;
INSERT INTO update_event (id, at, agent_id, manager, name, arch, kind)
SELECT md5('e' || n)::uuid, now() - n * interval '1 second', md5('h' || (1 + n % {HOSTS}))::uuid, 'apt',
       'package-' || n % 400, 'amd64', 'discovered'
FROM generate_series(1, {BESIDE}) n;
INSERT INTO system_event (id, at, severity, component, code, message, agent_id)
SELECT md5('s' || n)::uuid, now() - n * interval '1 second', CASE n % 500 WHEN 0 THEN 'error' ELSE 'info' END,
       'agent', 'something', 'text', md5('h' || (1 + n % {HOSTS}))::uuid
FROM generate_series(1, {BESIDE}) n
"""  # noqa: S608 - constants only


async def measure() -> Figures:
    """Seed, recount, and ask each question some times; print its plan."""
    found = Figures(
        "explain_lists",
        "lists and counts, in the server",
        (SERVER, SCANS),
        {"hosts": HOSTS, "beside": BESIDE},
    )
    with running_postgres() as server, server.new_database(migrated=True) as url:
        engine = open_engine(url, pool_size=1, application_name="bench", statement_timeout_s=600)
        try:
            make = sessions(engine)
            async with engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                if raw is None:
                    raise RuntimeError("no connection")
                for seed in (update_lists.SEED, SEED):
                    await raw.execute(seed, timeout=550)
                await raw.execute("RESET session_replication_role")
                await raw.execute("VACUUM ANALYZE", timeout=300)
            async with make() as session, session.begin():
                await recount(session)
            async with make.begin() as session:
                await fold(session, entries=0)
            for question, work in QUESTIONS.items():
                times = []
                for _ in range(ROUNDS):
                    async with make() as session:
                        before = time.perf_counter()
                        await work(session)
                        times.append((time.perf_counter() - before) * 1000)
                plans = await plans_of(make, work)
                whole = [scan for plan in plans for scan in scans(plan, MUCH)]
                lines = [line for plan in plans for line in reads(plan)]
                sys.stdout.write(f"{question}\n" + "".join(f"    {line}\n" for line in lines))
                found.add(f"{question}, ms", SERVER, *times)
                found.add(f"{question}, ms", SCANS, len(whole))
        finally:
            await engine.dispose()
    return found
