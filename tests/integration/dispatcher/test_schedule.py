"""The scheduler on a real database, with the dispatcher's rights: what it makes, what it leaves, and never twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.after_commands import write_after_commands
from redflag_dispatcher.identifiers import Identifiers
from redflag_dispatcher.live_settings import KEPT_S, LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.schedule import ScheduleLag, Scheduler
from redflag_dispatcher.schedule_rules import Outcome
from redflag_store.fleet_settings import FleetSettings
from redflag_store.queries import schedule as queries
from redflag_store.queries.ingest import CommandChange, CommandRow
from redflag_store.queries.schedule import wake_seen
from redflag_store.queries.settings import change_setting
from redflag_store.queries.subsystems import change_default, change_host_subsystem, host_subsystems
from redflag_wire.clock import ManualClock
from tests.integration.store.rows import CLOCK, add_agents, opened
from tests.support.postgres import DatabaseUrl

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
SETTINGS = FleetSettings({})
SUBSYSTEMS = 3  # apt, storage, system


class Bed:
    """A database with hosts, and schedulers on it."""

    def __init__(self, url: DatabaseUrl, maker: async_sessionmaker[AsyncSession]) -> None:
        self.url = url
        self.maker = maker
        self.clock = ManualClock(START)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.live = LiveSettings(maker, self.clock)
        self.scheduler = self.another()

    def another(self) -> Scheduler:
        return Scheduler(
            self.maker,
            self.live,
            clock=self.clock,
            new_id=Identifiers(self.clock),
            metrics=self.metrics,
            random=lambda: 0.0,
        )

    async def rows(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(str(self.url))  # type: ignore[no-untyped-call]  # ships no types
        try:
            return [dict(row) for row in await connection.fetch(sql, *args)]
        finally:
            await connection.close()

    async def hosts(self, count: int = 1, **columns: Any) -> list[UUID]:
        """Active hosts with apt, seen now, and planned."""
        ids = await add_agents(str(self.url), count)
        values = {"capabilities": json.dumps([{"manager": "apt"}]), "agent_version": "1.0.0", **columns}
        sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(values, 2))
        await self.rows(f"UPDATE agent SET {sets} WHERE id = ANY($1)", ids, *values.values())  # noqa: S608 - names of columns
        await self.seen(*ids)
        await self.planned()
        return ids

    async def planned(self) -> None:
        while await self.scheduler.take_in():
            pass
        while await self.scheduler.plan(SETTINGS):
            pass

    async def seen(self, *hosts: UUID) -> None:
        now = self.clock.now()
        await self.rows("UPDATE agent SET last_seen_at = $2 WHERE id = ANY($1)", list(hosts), now)
        async with self.maker.begin() as session:
            await wake_seen(session, hosts)

    async def commands(self) -> list[dict[str, Any]]:
        return await self.rows("SELECT * FROM command ORDER BY id")

    async def subsystem(self, host: UUID, name: str) -> dict[str, Any]:
        (row,) = await self.rows("SELECT * FROM subsystem WHERE agent_id = $1 AND name = $2", host, name)
        return row

    async def end(self, state: str, **where: Any) -> None:
        """End every pending command as if its host had."""
        await self.rows("UPDATE command SET state = $1, envelope = '{}' WHERE state = 'requested'", state)

    async def reported(
        self, host: UUID, kind: str, params: dict[str, Any], state: str, **change: Any
    ) -> UUID:
        """Store an ended command and what ingest does after its report."""
        command = Identifiers(self.clock)()
        await self.rows(
            "INSERT INTO command (id, agent_id, kind, params, state, envelope, source, requested_by, requested_at)"
            " VALUES ($1, $2, $3, $4, $5, '{}', $6, 'test', now())",
            command,
            host,
            kind,
            json.dumps(params),
            state,
            "system",
        )
        if change.pop("manual", True):
            intent = (
                await self.rows(
                    "INSERT INTO intent (id, envelope, digest, verb, operator, correlation_id, at)"
                    " VALUES ($1, '{}', $2, 'scan', 'a', $1, now()) RETURNING id",
                    Identifiers(CLOCK)(),
                    str(command),
                )
            )[0]["id"]
            await self.rows(
                "UPDATE command SET source = 'manual', intent_id = $2 WHERE id = $1", command, intent
            )
        now = self.clock.now()
        row = CommandRow(command, host, kind, None, "running", "sha256:", None, json.dumps(params))
        changed = CommandChange(command, state, finished_at=now, **change)
        async with self.maker.begin() as session:
            await write_after_commands(session, {command: row}, {command: changed}, now)
        return command

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def bed(database: DatabaseUrl) -> AsyncIterator[Bed]:
    async with opened(database.dispatcher, pool_size=8) as maker:
        yield Bed(database, maker)


async def test_a_new_host_gets_its_subsystems_and_its_first_scans(bed: Bed) -> None:
    (host,) = await bed.hosts()
    await bed.scheduler.step()
    commands = await bed.commands()
    assert {(one["kind"], one["dedupe_key"], one["source"], one["intent_id"]) for one in commands} == {
        ("scan", f"scan:{name}", "system", None) for name in ("apt", "storage", "system")
    }
    assert {json.loads(one["params"])["subsystem"] for one in commands} == {"apt", "storage", "system"}
    apt = await bed.subsystem(host, "apt")
    assert apt["last_command_id"] in {one["id"] for one in commands}
    assert apt["due_at"] == START + timedelta(
        hours=3
    )  # the first place in the interval is by chance: half of it
    await bed.scheduler.step()
    assert len(await bed.commands()) == SUBSYSTEMS
    assert bed.metric("redflag_scheduler_looks_total", outcome="made") == SUBSYSTEMS


async def test_two_schedulers_at_once_double_nothing_and_leave_nothing(bed: Bed) -> None:
    hosts = await bed.hosts(120)
    schedulers = [bed.another() for _ in range(4)]
    async with asyncio.timeout(60):
        while True:
            outcomes = await asyncio.gather(*(one.make_due(SETTINGS, 50) for one in schedulers))
            if not any(outcomes):
                break
    commands = await bed.commands()
    assert len(commands) == len(hosts) * SUBSYSTEMS
    assert len({(one["agent_id"], one["dedupe_key"]) for one in commands}) == len(commands)
    behind = await bed.rows("SELECT FROM subsystem WHERE next_run_at <= $1", START)
    assert behind == []


async def test_a_failed_transaction_moves_no_time(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    (host,) = await bed.hosts()

    async def broken(*_: object) -> None:
        raise RuntimeError("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr("redflag_store.queries.schedule.write_looks", broken)
        with pytest.raises(RuntimeError):
            await bed.scheduler.make_due(SETTINGS, 10)
    assert await bed.commands() == []
    assert (await bed.subsystem(host, "apt"))["next_run_at"] == START


async def test_a_batch_is_all_a_step_makes(bed: Bed) -> None:
    await bed.hosts(10)
    assert (await bed.scheduler.make_due(SETTINGS, 7)).total() == 7
    assert len(await bed.commands()) == 7


async def test_a_host_that_was_away_gets_one_scan_and_keeps_its_place(bed: Bed) -> None:
    (host,) = await bed.hosts()
    await bed.scheduler.step()
    await bed.end("succeeded")
    place = (await bed.subsystem(host, "system"))["due_at"]
    bed.clock.advance(10 * 86_400)
    await bed.seen(host)
    for _ in range(3):
        await bed.scheduler.step()
    assert len(await bed.commands()) == 2 * SUBSYSTEMS
    due_at = (await bed.subsystem(host, "system"))["due_at"]
    assert due_at > bed.clock.now()
    assert (due_at - place).total_seconds() % 900 == 0


async def test_a_sleeping_host_gets_its_scan_when_it_is_seen_again(bed: Bed) -> None:
    (host,) = await bed.hosts()
    await bed.scheduler.step()
    await bed.end("expired")
    for _ in range(4):
        bed.clock.advance(86_400)
        await bed.scheduler.step()
    assert len(await bed.commands()) == SUBSYSTEMS
    apt = await bed.subsystem(host, "apt")
    assert (apt["asleep"], apt["held_for"]) == (True, "asleep")
    assert await bed.scheduler.make_due(SETTINGS, 10) == {}  # not even looked at
    await bed.seen(host)
    await bed.scheduler.step()
    assert len(await bed.commands()) == 2 * SUBSYSTEMS
    assert not (await bed.subsystem(host, "apt"))["asleep"]


@pytest.mark.parametrize("key", ["scan:apt", "scan:all"])
async def test_a_pending_scan_of_an_operator_is_not_doubled(bed: Bed, key: str) -> None:
    (host,) = await bed.hosts()
    await bed.rows(
        "INSERT INTO command (id, agent_id, kind, source, dedupe_key, requested_by, requested_at)"
        " VALUES ($1, $2, 'scan', 'system', $3, 'admin', now())",
        Identifiers(CLOCK)(),
        host,
        key,
    )
    await bed.scheduler.step()
    made = [one for one in await bed.commands() if one["requested_by"] == "scheduler"]
    assert {one["dedupe_key"] for one in made} == (
        {"scan:storage", "scan:system"} if key == "scan:apt" else set()
    )
    assert (await bed.subsystem(host, "apt"))["next_run_at"] > START


async def test_a_host_with_ten_pending_stays_due(bed: Bed) -> None:
    (host,) = await bed.hosts()
    for n in range(9):
        await bed.rows(
            "INSERT INTO command (id, agent_id, kind, source, dedupe_key, requested_by, requested_at)"
            " VALUES ($1, $2, 'reboot', 'system', $3, 'admin', now())",
            Identifiers(CLOCK)(),
            host,
            str(n),
        )
    outcomes = await bed.scheduler.make_due(SETTINGS, 10)
    assert outcomes == {Outcome.MADE: 1, Outcome.TOO_MANY: 2}
    held = await bed.rows("SELECT next_run_at, held_until FROM subsystem WHERE held_for = 'too_many'")
    assert [(one["next_run_at"], one["held_until"]) for one in held] == [
        (START, START + timedelta(minutes=5))
    ] * 2
    await bed.end("succeeded")
    bed.clock.advance(301)
    await bed.seen(host)
    assert await bed.scheduler.make_due(SETTINGS, 10) == {Outcome.MADE: 2}


async def test_only_active_hosts_of_a_good_version_are_asked(bed: Bed) -> None:
    (old,) = await bed.hosts(agent_version="0.9.0")
    (gone,) = await bed.hosts(state="quarantined")
    minimum = FleetSettings({"agents.minimum_version": "1.0.0"})
    assert await bed.scheduler.make_due(minimum, 10) == {Outcome.TOO_OLD: SUBSYSTEMS}
    assert (await bed.subsystem(gone, "apt"))["next_run_at"] is None
    await bed.rows("UPDATE agent SET agent_version = '1.0.0' WHERE id = $1", old)
    await bed.rows("UPDATE agent SET state = 'active' WHERE id = $1", gone)
    await bed.planned()
    assert await bed.scheduler.make_due(minimum, 10) == {Outcome.MADE: 2 * SUBSYSTEMS}


async def test_what_a_host_no_longer_has_stops(bed: Bed) -> None:
    (host,) = await bed.hosts()
    await bed.rows("UPDATE agent SET capabilities = $2 WHERE id = $1", host, json.dumps([{"manager": "dnf"}]))
    await bed.planned()
    await bed.scheduler.step()
    assert {one["dedupe_key"] for one in await bed.commands()} == {"scan:dnf", "scan:storage", "scan:system"}
    async with bed.maker() as session:
        assert [one.row.name for one in await host_subsystems(session, host)] == ["dnf", "storage", "system"]


async def test_changed_values_reach_the_hosts(bed: Bed, database: DatabaseUrl) -> None:
    first, second = await bed.hosts(2)
    await bed.scheduler.step()
    async with opened(database.dashboard) as dashboard:
        async with dashboard.begin() as session:
            await change_default(
                session,
                new_id=Identifiers(CLOCK)(),
                name="apt",
                group_id=None,
                values={"interval_s": 3600},
                priority=None,
                changed_by="admin",
                at=START,
            )
            assert await change_host_subsystem(
                session, second, "apt", {"auto_run": False}, changed_by="admin", at=START
            )
        await bed.planned()
        assert (await bed.subsystem(first, "apt"))["next_run_at"] == START + timedelta(hours=1)
        assert (await bed.subsystem(second, "apt"))["next_run_at"] is None
        async with dashboard.begin() as session:
            await change_host_subsystem(
                session, second, "apt", {"auto_run": None}, changed_by="admin", at=START
            )
    await bed.planned()
    assert (await bed.subsystem(second, "apt"))["next_run_at"] == START + timedelta(hours=1)
    assert await bed.scheduler.plan(SETTINGS) == 0


async def test_an_operators_scan_moves_the_next_one_and_its_result_is_kept(bed: Bed) -> None:
    (host,) = await bed.hosts()
    bed.clock.advance(600)
    await bed.reported(host, "scan", {"subsystem": "apt"}, "succeeded", result="succeeded")
    apt = await bed.subsystem(host, "apt")
    assert (apt["last_run_at"], apt["last_result"], apt["failures"]) == (bed.clock.now(), "succeeded", 0)
    assert apt["next_run_at"] == bed.clock.now() + timedelta(hours=6)
    assert (await bed.subsystem(host, "system"))["last_run_at"] is None
    for count in (1, 2):
        await bed.reported(host, "scan", {"subsystem": "all"}, "failed", result="failed", code="lock_held")
        system = await bed.subsystem(host, "system")
        assert (system["last_code"], system["failures"], system["next_run_at"]) == ("lock_held", count, START)
    await bed.reported(host, "scan", {"subsystem": "system"}, "succeeded", manual=False)
    system = await bed.subsystem(host, "system")
    assert (system["failures"], system["last_code"], system["next_run_at"]) == (0, None, START)
    await bed.reported(host, "scan", {"subsystem": "system"}, "expired")
    assert (await bed.subsystem(host, "system"))["last_result"] == "succeeded"


async def test_fast_mode_is_what_the_host_said_and_ends(bed: Bed) -> None:
    (host,) = await bed.hosts()
    await bed.rows("UPDATE subsystem SET next_run_at = due_at + interval '1 hour'")
    assert await bed.scheduler.make_due(SETTINGS, 10) == {}
    await bed.reported(host, "enable_heartbeat", {"duration_s": 600}, "failed")
    assert await bed.scheduler.make_due(SETTINGS, 10, fast=True) == {}
    await bed.reported(host, "enable_heartbeat", {"duration_s": 600}, "succeeded")
    (row,) = await bed.rows("SELECT fast_until, fast_forever FROM agent")
    assert row == {"fast_until": START + timedelta(seconds=600), "fast_forever": False}
    assert await bed.scheduler.make_due(SETTINGS, 10, fast=True) == {Outcome.MADE: SUBSYSTEMS}
    bed.clock.advance(601)
    await ScheduleLag(bed.maker, clock=bed.clock, metrics=bed.metrics).step()
    assert (await bed.rows("SELECT fast_until FROM agent"))[0]["fast_until"] is None
    await bed.reported(host, "enable_heartbeat", {"duration_s": None}, "succeeded")
    assert (await bed.rows("SELECT fast_forever FROM agent"))[0]["fast_forever"] is True
    await bed.reported(host, "disable_heartbeat", {}, "succeeded")
    assert (await bed.rows("SELECT fast_forever FROM agent"))[0]["fast_forever"] is False


async def test_what_is_due_and_how_late_is_measured(bed: Bed) -> None:
    await bed.hosts(2)
    bed.clock.advance(90)
    await ScheduleLag(bed.maker, clock=bed.clock, metrics=bed.metrics).step()
    assert bed.metric("redflag_scheduler_due") == 2 * SUBSYSTEMS
    assert bed.metric("redflag_scheduler_lag_seconds") == 90


async def test_settings_are_read_again_after_a_notice_and_after_a_while(
    bed: Bed, database: DatabaseUrl
) -> None:
    key = "scheduler.jitter_percent"
    assert (await bed.live.current()).number(key) == 10
    async with opened(database.dashboard) as dashboard:
        for value in (20, 30):
            async with dashboard.begin() as session:
                await change_setting(session, key, value, changed_by="admin", at=START)
            assert (await bed.live.current()).number(key) == value - 10
            if value == 20:
                bed.live.stale()
            else:
                bed.clock.advance(KEPT_S)
            assert (await bed.live.current()).number(key) == value


async def test_a_look_goes_by_its_index_and_not_over_the_fleet(bed: Bed) -> None:
    await bed.rows(
        "INSERT INTO agent (id, hostname, machine_id, state, akt, created_at, subsystems_mark) "
        "SELECT gen_random_uuid(), 'h' || n, 'm', 'active', n::text, now(), "
        "md5('active' || ' ' || '' || ' ' || '[]') FROM generate_series(1, 20000) n"
    )
    await bed.rows(
        "INSERT INTO subsystem (agent_id, name, plan_interval_s, plan_timeout_s, planned_rev, due_at, next_run_at) "
        "SELECT id, 'system', 900, 120, 1, $1::timestamptz + interval '1 hour', $1::timestamptz + interval '1 hour' "
        "FROM agent",
        START,
    )
    await bed.rows("ANALYZE agent")
    await bed.rows("ANALYZE subsystem")
    now, ids = f"'{START.isoformat()}'::timestamptz", f"ARRAY['{UUID(int=1)}'::uuid]"
    for statement, arguments in (
        (queries._DUE, (now, "500")),
        (queries._DUE_FAST, (now, "100")),
        (queries._STALE, ("500",)),
        (queries._TO_PLAN, ("1", "500")),
        (queries._WAKE, (ids,)),
        (queries._BACKLOG, (now, "1000")),
    ):
        sql = statement
        for n, argument in enumerate(arguments, 1):
            sql = sql.replace(f"${n}", argument)
        plan = "\n".join(next(iter(row.values())) for row in await bed.rows("EXPLAIN " + sql))
        assert "Seq Scan" not in plan, plan
