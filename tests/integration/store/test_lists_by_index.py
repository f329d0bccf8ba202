"""No list, filter or count that operators see reads all of a large table: the plans of the very statements say so."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.queries.tallies import fold
from tests.integration.store.rows import opened
from tests.support.list_questions import QUESTIONS
from tests.support.postgres import PostgresServer
from tests.support.query_plans import Sessions, plans_of, scans

HOSTS = 1500
MUCH = 10_000  # rows, half of the smallest large table: more than a page ever needs

SEED = f"""
INSERT INTO agent (id, hostname, machine_id, state, akt, created_at)
SELECT md5('h' || n)::uuid, 'host-' || n, md5('m' || n), 'active', md5('a' || n), now()
FROM generate_series(1, {HOSTS}) n;

INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, security, severity, availability,
                           state, first_seen_at, changed_at)
SELECT md5('h' || n)::uuid, 'apt', 'package-' || lpad((p * 3 + n % 20)::text, 4, '0'), 'amd64', '1', '2', p % 5 = 0,
       CASE p % 25 WHEN 0 THEN 'critical' END, 'available',
       CASE WHEN p = 7 AND n % 100 = 0 THEN 'failed' WHEN p % 10 = 3 THEN 'updated' ELSE 'pending' END, now(), now()
FROM generate_series(1, {HOSTS}) n, generate_series(1, 30) p;

ALTER TABLE command DROP CONSTRAINT ck_command_signed_has_envelope;
INSERT INTO command (id, agent_id, kind, params, state, source, requested_by, requested_at)
SELECT md5('c' || n)::uuid, md5('h' || (1 + n % 1000))::uuid, 'scan', '{{}}',
       CASE WHEN n % 50 = 0 THEN 'running' ELSE 'succeeded' END, 'system', 'schedule', now() - n * interval '1 second'
FROM generate_series(1, 20000) n;

INSERT INTO update_history (id, agent_id, manager, name, arch, action, result, stored_at)
SELECT md5('u' || n)::uuid, md5('h' || (1 + n % 1000))::uuid, 'apt', 'package-' || n % 40, 'amd64', 'upgrade',
       'succeeded', now() - n * interval '1 second'
FROM generate_series(1, 20000) n;

INSERT INTO update_event (id, at, agent_id, manager, name, arch, kind)
SELECT md5('e' || n)::uuid, now() - n * interval '1 second', md5('h' || (1 + n % 1000))::uuid, 'apt',
       'package-' || n % 40, 'amd64', 'discovered'
FROM generate_series(1, 20000) n;

INSERT INTO system_event (id, at, severity, component, code, message, agent_id)
SELECT md5('s' || n)::uuid, now() - n * interval '1 second', CASE n % 50 WHEN 0 THEN 'error' ELSE 'info' END,
       'agent', 'something', 'text', md5('h' || (1 + n % 1000))::uuid
FROM generate_series(1, 20000) n;
"""  # noqa: S608 - constants only


@pytest.fixture(scope="module")
def seeded(postgres_server: PostgresServer) -> Any:
    with postgres_server.new_database(migrated=True) as url:
        postgres_server.run(SEED, database=url.name)
        postgres_server.run("VACUUM ANALYZE", database=url.name)
        yield url


@pytest.fixture
async def make(seeded: str) -> AsyncIterator[Sessions]:
    async with opened(seeded) as sessions:
        async with sessions.begin() as session:
            await fold(session, entries=0)
        yield sessions


@pytest.mark.parametrize("question", QUESTIONS)
async def test_nothing_reads_all_of_a_large_table(make: Sessions, question: str) -> None:
    found = [scan for plan in await plans_of(make, QUESTIONS[question]) for scan in scans(plan, MUCH)]
    assert found == []


async def test_the_check_sees_a_scan(make: Sessions) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(text("SELECT count(*) FROM package_state"))

    (plan,) = await plans_of(make, work)
    assert scans(plan, MUCH)
