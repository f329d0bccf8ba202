"""No list, filter or count that operators see reads all of a large table: the plans of the very statements say so."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_store.queries.commands import CommandFilter, list_commands
from redflag_store.queries.events import EventFilter, list_events
from redflag_store.queries.history import list_history
from redflag_store.queries.host_filter import HostFilter
from redflag_store.queries.hosts import fleet_figures, list_hosts
from redflag_store.queries.package_history import list_update_events, list_versions
from redflag_store.queries.plans import list_plans
from redflag_store.queries.tallies import fold
from redflag_store.queries.updates import UpdateFilter, count_updates, list_updates
from redflag_store.states import Severity
from tests.integration.store.rows import CLOCK, opened
from tests.support.postgres import PostgresServer

LARGE = (
    "package_state",
    "command",
    "system_event",
    "update_history",
    "update_event",
    "update_plan",
    "report_inbox",
)
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

Work = Callable[[AsyncSession], Awaitable[object]]
Sessions = async_sessionmaker[AsyncSession]
HOST = UUID(hashlib.md5(b"h7", usedforsecurity=False).hexdigest())
MIDDLE = ("package-0050", "apt", "amd64", HOST)


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


def updates(after: tuple[str, str, str, UUID] | None = None, **wanted: Any) -> Work:
    return lambda session: list_updates(session, UpdateFilter(**wanted), after=after, limit=50)


def counts(**wanted: Any) -> Work:
    return lambda session: count_updates(session, UpdateFilter(**wanted))


def commands(**wanted: Any) -> Work:
    return lambda session: list_commands(session, CommandFilter(**wanted), after=None, limit=50)


def history(**wanted: Any) -> Work:
    return lambda session: list_history(session, CommandFilter(**wanted), after=None, limit=50)


def events(**wanted: Any) -> Work:
    return lambda session: list_events(session, EventFilter(**wanted), after=None, limit=50)


def of_host(read: Any, package: str | None) -> Work:
    return lambda session: read(session, HOST, package=package, manager=None, after=None, limit=50)


QUESTIONS: dict[str, Work] = {
    "updates": updates(),
    "updates, a middle page": updates(MIDDLE),
    "updates, security": updates(security=True),
    "updates, failed": updates(state="failed"),
    "updates, failed, a middle page": updates(MIDDLE, state="failed"),
    "updates, updated": updates(state="updated"),
    "updates, critical": updates(severity="critical"),
    "updates, by text": updates(name="-005"),
    "updates, one package": updates(package="package-0050"),
    "updates, of a host": updates(agent_id=HOST),
    "updates, held": updates(availability="held"),
    "counts": counts(),
    "counts, by text": counts(name="-005"),
    "counts, of a host": counts(agent_id=HOST),
    "commands": commands(),
    "commands, of a host": commands(agent_id=HOST),
    "commands, pending": commands(pending=True),
    "commands, running": commands(state="running"),
    "history": history(),
    "history, of a host": history(agent_id=HOST),
    "events": events(),
    "events, errors": events(at_least=Severity.ERROR),
    "events, of a host": events(agent_id=HOST),
    "versions, of a host": of_host(list_versions, None),
    "versions, of a package": of_host(list_versions, "package-7"),
    "what happened, of a host": of_host(list_update_events, None),
    "plans": lambda session: list_plans(session, agent_id=None, after=None, limit=50),
    "hosts": lambda session: list_hosts(session, HostFilter(), after=None, limit=50),
    "figures": lambda session: fleet_figures(session, CLOCK.now()),
}


def scans(plan: dict[str, Any]) -> list[str]:
    """The large tables that a plan reads from one end to the other."""
    found = []
    name = str(plan.get("Relation Name", ""))
    whole = plan["Node Type"] == "Seq Scan" or (
        plan["Node Type"] in {"Index Only Scan", "Index Scan"}
        and "Index Cond" not in plan
        and plan["rows"] > MUCH
    )
    if whole and name.startswith(LARGE) and plan["rows"] > 0:
        found.append(f"{plan['Node Type']} of {name}: {plan['rows']} rows")
    for part in plan.get("Plans", ()):
        found.extend(scans(part))
    return found


def with_rows(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with what each node really read, rows filtered away included."""
    plan["rows"] = plan.get("Actual Rows", 0) + plan.get("Rows Removed by Filter", 0)
    for part in plan.get("Plans", ()):
        with_rows(part)
    return plan


async def plans_of(make: Sessions, work: Work) -> list[dict[str, Any]]:
    """The plan of each statement that `work` runs, with what it really read."""
    asked: list[tuple[str, Any]] = []
    async with make() as session, session.begin():
        connection = await session.connection()

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
            asked.append((statement, parameters))

        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await work(session)
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        found = []
        for statement, parameters in asked:
            plan = await connection.exec_driver_sql(
                f"EXPLAIN (FORMAT JSON, ANALYZE, TIMING OFF) {statement}", parameters
            )
            value = plan.scalar_one()
            found.append(with_rows((json.loads(value) if isinstance(value, str) else value)[0]["Plan"]))
        return found


@pytest.mark.parametrize("question", QUESTIONS)
async def test_nothing_reads_all_of_a_large_table(make: Sessions, question: str) -> None:
    found = [scan for plan in await plans_of(make, QUESTIONS[question]) for scan in scans(plan)]
    assert found == []


async def test_the_check_sees_a_scan(make: Sessions) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(text("SELECT count(*) FROM package_state"))

    (plan,) = await plans_of(make, work)
    assert scans(plan)
