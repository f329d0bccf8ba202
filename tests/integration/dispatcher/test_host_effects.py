"""Figures of hosts, from bodies into the database and back as they are now and over time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import BEACON_KEY, KV_BEACON
from redflag_dispatcher import buckets
from redflag_dispatcher.announce import BeaconAnnouncer
from redflag_dispatcher.host_effects import FigureUpkeep, Looks
from redflag_dispatcher.live_settings import LiveSettings
from redflag_store.queries import host_figures as queries
from redflag_store.queries.host_figures import MetricRow
from redflag_wire.beacon import Beacon
from redflag_wire.envelope import parse_envelope, verify_envelope
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import ReportKind
from redflag_wire.system_bodies import Process, Storage, System, Volume
from tests.integration.dispatcher.rig import FLEET, Rig
from tests.integration.dispatcher.test_ingest import inventory, take
from tests.integration.store.rows import CLOCK, add_agents, opened
from tests.support.postgres import DatabaseUrl

NOW = CLOCK.now().replace(microsecond=0)


def system(at: datetime, load: int = 1500, **values: Any) -> System:
    figures: dict[str, Any] = {
        "uptime_s": 60, "cpu_count": 2, "cpu_model": "x", "load1_milli": load, "load5_milli": None,
        "load15_milli": None, "memory_total_bytes": 2**40, "memory_available_bytes": 2**39, "swap_total_bytes": 0,
        "swap_free_bytes": 0, "processes_total": 100, "processes_running": 1, "processes_zombie": 0,
        "top_processes": [Process(pid=1, name="=init", rss_bytes=1, cpu_ms=1)], "kernel_running": "6.1",
        "kernel_installed": None, "virtualization": None, "reboot_required": True, "reboot_reasons": ["linux"],
        "services_to_restart": None, **values,
    }  # fmt: skip
    return System(collected_at=at, **figures)


def storage(at: datetime, *mounts: str) -> Storage:
    volumes = [
        Volume(
            mount=mount, device="/dev/x", fstype="ext4", total_bytes=100, used_bytes=50 + n, available_bytes=50,
            inodes_total=None, inodes_used=None, read_only=False,
        )
        for n, mount in enumerate(mounts)
    ]  # fmt: skip
    return Storage(collected_at=at, volumes=volumes, disks=[])


async def store(make: async_sessionmaker[AsyncSession], agent: UUID, *bodies: System | Storage) -> None:
    looks = Looks(NOW)
    for body in bodies:
        looks.system(agent, body) if isinstance(body, System) else looks.storage(agent, body)
    async with make.begin() as session:
        await queries.store_systems(session, list(looks.systems.values()))
        await queries.store_storages(session, list(looks.storages.values()))
        await queries.store_metrics(session, list(looks.metrics.values()))


async def test_figures_are_there_as_the_host_said_them(database: DatabaseUrl) -> None:
    (agent,) = await add_agents(database)
    async with opened(database.dispatcher) as make, opened(database.dashboard) as read:
        first = NOW - timedelta(minutes=10)
        await store(make, agent, system(first), storage(first, "/", "/srv"))
        await store(make, agent, storage(NOW, "/", "/new"), system(NOW, 2000, reboot_required=False))
        # A look that was under way for long does not replace a newer one.
        await store(make, agent, system(first, 9000), storage(first, "/old"))
        async with read() as session:
            found = await queries.host_system(session, agent)
            assert found is not None
            assert (found.load1_milli, found.memory_total_bytes, found.services_to_restart) == (
                2000,
                2**40,
                None,
            )
            assert found.top_processes == [{"pid": 1, "name": "=init", "rss_bytes": 1, "cpu_ms": 1}]
            assert found.reboot_reasons == ["linux"]
            assert not await session.scalar(text("SELECT reboot_required FROM agent"))
            looked = await queries.host_storage(session, agent)
            assert looked is not None
            assert [(one.mount, one.used_bytes) for one in looked[1]] == [("/", 50), ("/new", 51)]
            points = await queries.host_metrics(
                session, agent, since=NOW - timedelta(hours=1), until=NOW + timedelta(minutes=1), step_s=60
            )
            # Both bodies of one minute are one row, and what came last for a minute stands.
            assert [(one.load1_milli, one.fullest_mount, one.fullest_percent, one.samples) for one in points] == [
                (9000, "/old", 50, 1), (2000, "/new", 51, 1)
            ]  # fmt: skip


async def test_a_clock_far_ahead_does_not_hold_the_place_for_ever(database: DatabaseUrl) -> None:
    (agent,) = await add_agents(database)
    async with opened(database.dispatcher) as make:
        await store(make, agent, system(datetime(2099, 1, 1, tzinfo=UTC)))
        await store(make, agent, system(NOW, 7))
        async with make() as session:
            found = await queries.host_system(session, agent)
            assert found is not None
            assert found.load1_milli == 7


async def test_history_has_as_many_points_as_asked_for(database: DatabaseUrl) -> None:
    (agent, other) = await add_agents(database, 2)
    start = NOW.replace(hour=0, minute=0, second=0) - timedelta(days=1)
    rows = [
        MetricRow(one, start + timedelta(minutes=n), load1_milli=n if one == agent else 0)
        for n in range(120)
        for one in (agent, other)
    ]
    async with opened(database.dispatcher) as make:
        async with make.begin() as session:
            await queries.store_metrics(session, rows)
        async with make() as session:
            points = await queries.host_metrics(
                session, agent, since=start, until=start + timedelta(hours=2), step_s=3600
            )
    assert [(one.at, one.load1_milli, one.samples) for one in points] == [
        (start, 30, 60), (start + timedelta(hours=1), 90, 60)
    ]  # fmt: skip


async def partitions(session: AsyncSession) -> set[str]:
    rows = await session.scalars(
        text("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
             " WHERE i.inhparent = 'host_metric'::regclass")
    )  # fmt: skip
    return set(rows)


async def test_old_weeks_go_and_coming_ones_are_ready(database: DatabaseUrl) -> None:
    (agent,) = await add_agents(database)
    old, new = NOW - timedelta(days=50), NOW
    async with opened(database) as owner, opened(database.dispatcher) as make:
        async with owner.begin() as session:
            first = old.date()
            await session.execute(
                text("SELECT redflag_ensure_host_metric_weeks(:first, 1)"), {"first": first}
            )
            await queries.store_metrics(
                session, [MetricRow(agent, old, load1_milli=1), MetricRow(agent, new)]
            )
            # What a table was missing for is moved when it comes.
            far = NOW + timedelta(days=60)
            await queries.store_metrics(session, [MetricRow(agent, far)])
            await session.execute(
                text("SELECT redflag_ensure_host_metric_weeks(:first, 1)"), {"first": far.date()}
            )
            assert await session.scalar(text("SELECT count(*) FROM host_metric_default")) == 0
            before = await partitions(session)
        assert await FigureUpkeep(make, LiveSettings(make, CLOCK), clock=CLOCK).step() is False
        async with owner() as session:
            gone = before - await partitions(session)
            assert gone == {f"host_metric_{old - timedelta(days=old.weekday()):%Y_%m_%d}"}
            assert await session.scalar(text("SELECT count(*) FROM host_metric")) == 2
        with pytest.raises(DBAPIError, match="last day stay"):
            async with make.begin() as session:
                await queries.keep_weeks(session, today=NOW.date(), ended_before=NOW)


async def test_bodies_of_reports_become_figures_and_events(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    listed = {
        **inventory(),
        "reboot_required": True,
        "problems": ["mirror a is away", "mirror b is away"],
    }
    looked = storage(NOW, "/").model_dump(mode="json")
    looked["disks"] = [
        {"device": "sda", "model": "", "size_bytes": None, "health": "failed", "temperature_celsius": None,
         "power_on_hours": None}
    ]  # fmt: skip
    told = {
        "type": "event",
        "code": "agent_started",
        "severity": "info",
        "component": "agent",
        "message": "it runs",
    }
    await take(
        rig,
        host,
        host.report(ReportKind.METRICS, system(NOW).model_dump(mode="json")),
        host.report(ReportKind.METRICS, looked),
        host.report(ReportKind.INVENTORY, listed),
        host.report(ReportKind.EVENT, told),
        host.report(ReportKind.EVENT, told),
    )
    assert await rig.value("SELECT reboot_required FROM agent") is True
    assert await rig.value("SELECT load1_milli FROM host_system") == 1500
    assert await rig.value("SELECT mount FROM storage_volume") == "/"
    (metric,) = await rig.rows("SELECT * FROM host_metric")
    assert (metric["load1_milli"], metric["fullest_percent"]) == (1500, 50)
    (problems,) = await rig.events("scan_problems")
    assert (problems["component"], problems["agent_id"]) == ("scanner", host.id)
    assert problems["message"] == "scan of apt: mirror a is away (and 1 more)"
    assert len(await rig.events("disk_failing")) == 1
    (started,) = await rig.events("agent_started")
    assert (started["component"], started["count"]) == ("agent", 2)


async def test_the_minimum_version_travels_in_the_beacon(rig: Rig) -> None:
    live = LiveSettings(rig.maker, CLOCK)
    beacons = BeaconAnnouncer(rig.nc, rig.keys.ring(), live, fleet=FLEET, clock=CLOCK)
    found = []
    for value in (None, "1.2.3"):
        if value is not None:
            await rig.rows(
                "INSERT INTO setting VALUES ('agents.minimum_version', to_jsonb($1::text), now(), 'x')", value
            )
            live.stale()
        await beacons.step()
        data = await buckets.get(rig.nc, KV_BEACON, BEACON_KEY)
        assert data is not None
        verified = verify_envelope(parse_envelope(data), PayloadType.BEACON, [rig.keys.beacon.public])
        found.append(Beacon.from_bytes(verified.payload).min_agent_version)
    assert found == [None, "1.2.3"]
