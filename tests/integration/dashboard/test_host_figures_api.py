"""How hosts are doing, over the API."""

from datetime import timedelta
from typing import Any

from sqlalchemy import text

from redflag_ops.build_info import build
from redflag_store.queries.host_figures import MetricRow, store_metrics
from redflag_store.tables import HostStorage, HostSystem, StorageVolume
from tests.integration.dashboard.running_api import CLOCK, Api

NOW = CLOCK.now()


async def test_figures_are_shown_as_the_host_said_them(api: Api) -> None:
    agent = await api.add_host("web")
    for path in ("system", "storage"):
        problem = await api.call("GET", f"/hosts/web/{path}", expect=404)
        assert (problem["code"], problem["subsystem"]) == ("no_figures", path)
    times: dict[str, Any] = {"agent_id": agent, "collected_at": NOW, "stored_at": NOW}
    await api.add(
        HostSystem(**times, kernel_running="6.1", reboot_required=True, reboot_reasons=["linux"],
                   services_to_restart=["ssh"], load1_milli=1500),
        HostStorage(**times, disks=[{"device": "sda", "health": "passed"}], problems=["no smartctl"]),
        StorageVolume(agent_id=agent, mount="/", device="/dev/vda1", fstype="ext4", total_bytes=110, used_bytes=67,
                      available_bytes=33),
        StorageVolume(agent_id=agent, mount="/proc", device="proc", fstype="proc", total_bytes=0, used_bytes=0,
                      available_bytes=0),
    )  # fmt: skip
    system = await api.call("GET", "/hosts/web/system", key="read")
    assert (system["hostname"], system["load1_milli"], system["uptime_s"]) == ("web", 1500, None)
    assert (system["reboot_reasons"], system["services_to_restart"]) == (["linux"], ["ssh"])
    storage = await api.call("GET", "/hosts/web/storage")
    assert [(one["mount"], one["used_percent"]) for one in storage["volumes"]] == [("/", 67), ("/proc", None)]
    assert (storage["disks"][0]["device"], storage["problems"]) == ("sda", ["no smartctl"])


async def test_history_is_bounded_and_says_its_step(api: Api) -> None:
    agent = await api.add_host("web")
    async with api.owner.begin() as session:
        rows = [MetricRow(agent, NOW - timedelta(minutes=n), load1_milli=n) for n in range(1, 60)]
        await store_metrics(session, rows)
    whole = await api.call("GET", "/hosts/web/metrics")
    assert whole["step_s"] == 300
    assert sum(one["samples"] for one in whole["points"]) == 59
    since = (NOW - timedelta(minutes=30)).isoformat()
    fine = await api.call("GET", "/hosts/web/metrics", since=since, step=60)
    assert len(fine["points"]) == 30
    assert [one["load1_milli"] for one in fine["points"]] == sorted(
        (one["load1_milli"] for one in fine["points"]), reverse=True
    )
    month = (NOW - timedelta(days=30)).isoformat()
    problem = await api.call("GET", "/hosts/web/metrics", since=month, step=60, expect=422)
    assert "a step of" in problem["detail"]
    await api.call("GET", "/hosts/web/metrics", since=NOW.isoformat(), until=month, expect=422)
    await api.call("GET", "/hosts/web/metrics", since="2026-01-01T00:00:00", expect=422)


async def test_a_history_is_read_by_its_index(api: Api) -> None:
    agent = await api.add_host("web")
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO host_metric (agent_id, at, load1_milli) SELECT :agent, now() - make_interval(mins => n), n"
                " FROM generate_series(1, 5000) n"
            ),
            {"agent": agent},
        )
        await session.execute(text("ANALYZE host_metric"))
        plan = "\n".join(
            await session.scalars(
                text(
                    "EXPLAIN SELECT * FROM host_metric WHERE agent_id = :agent AND at >= now() - interval '1 hour'"
                ),
                {"agent": agent},
            )
        )
    assert "Index Scan" in plan
    week = f"host_metric_{NOW - timedelta(days=NOW.weekday()):%Y_%m_%d}"
    assert f"Seq Scan on {week}" not in plan


async def test_what_answers_here_says_its_real_build(api: Api) -> None:
    info = await api.call("GET", "/info", key=None)
    known = build()
    assert info["version"] == "0.1.0"
    assert info["build"] == (None if known is None else {"commit": known.commit, "source": known.source})
