"""`redflag settings`, `subsystems` and `fast` against the API that really answers."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from redflag_store.tables import Subsystem
from tests.integration.cli.command_line import CommandLine
from tests.integration.dashboard.running_api import CLOCK, Api


@pytest.fixture
async def host(api: Api) -> None:
    agent = await api.add_host()
    await api.add(
        Subsystem(
            agent_id=agent,
            name="apt",
            plan_interval_s=21_600,
            plan_timeout_s=1_800,
            next_run_at=CLOCK.now() + timedelta(hours=2, minutes=1),
            last_run_at=CLOCK.now(),
            last_result="failed",
            last_code="lock_held",
            failures=2,
        )
    )


async def test_settings_are_listed_changed_and_reset(api: Api, cli: CommandLine) -> None:
    name = "scheduler.jitter_percent"
    assert (await cli.json("settings", "list"))["total"] > 30
    changed = await cli.run("settings", "set", name, "25")
    assert changed.out == f"{name} is 25 percent.\n"
    shown = (await cli.run("settings", "get", name)).out
    assert "25 percent" in shown
    assert "0 to 50" in shown
    assert "admin" in shown
    listed = (await cli.run("settings", "list", "--changed")).out
    assert name in listed
    assert len(listed.splitlines()) == 2
    refused = await cli.run("settings", "set", name, "51", expect=2)
    assert "from 0 to 50 (percent)" in refused.err
    assert (await cli.run("settings", "reset", name)).out == f"{name} is 10 percent (the default).\n"
    missing = await cli.run("settings", "get", "no.such", expect=3)
    assert "redflag settings list" in missing.err
    await cli.run("settings", "set", "agents.minimum_version", "1.2.3")
    none = await cli.run("settings", "set", "agents.minimum_version", "none")
    assert none.out == "agents.minimum_version is -.\n"


async def test_subsystems_are_listed_and_set(api: Api, cli: CommandLine, host: None) -> None:
    listed = (await cli.run("subsystems", "list", "web-04")).out
    for word in ("apt", "by itself", "6 h", "built-in", "failed (lock held)", "2", "in 2 h"):
        assert word in listed
    done = await cli.run("subsystems", "set", "web-04", "apt", "--every", "30m", "--no-auto")
    assert "when asked, every 30 min" in done.out
    (item,) = (await cli.json("subsystems", "list", "web-04"))["items"]
    assert (item["values"]["interval_s"], item["sources"]["interval_s"]) == (1800, "host")
    await cli.run("subsystems", "set", "web-04", "apt", "--every", "default")
    (item,) = (await cli.json("subsystems", "list", "web-04"))["items"]
    assert (item["values"]["interval_s"], item["values"]["auto_run"]) == (21_600, False)
    await cli.run("subsystems", "set", "web-04", "apt", "--reset")
    (item,) = (await cli.json("subsystems", "list", "web-04"))["items"]
    assert set(item["sources"].values()) == {"built-in"}
    assert (
        "redflag subsystems list"
        in (await cli.run("subsystems", "set", "web-04", "snap", "--off", expect=3)).err
    )
    assert (
        "1 min to 24 h"
        in (await cli.run("subsystems", "set", "web-04", "apt", "--every", "30s", expect=2)).err
    )
    await cli.run("subsystems", "set", "web-04", "apt", expect=2)


async def test_defaults_are_set_and_listed(api: Api, cli: CommandLine) -> None:
    nothing = await cli.run("subsystems", "defaults")
    assert "every 6 h" in nothing.err
    done = await cli.run("subsystems", "defaults", "apt", "--every", "2h", "--off")
    assert done.out == "apt for the fleet: off, every 2 h.\n"
    assert "off, every 2 h" in (await cli.run("subsystems", "defaults")).out
    gone = await cli.run("subsystems", "defaults", "apt", "--reset")
    assert "no default of its own any more" in gone.out
    await cli.run("subsystems", "defaults", "--every", "2h", expect=2)


async def test_fast_mode_is_asked_for_once_and_shown(api: Api, cli: CommandLine, host: None) -> None:
    assert (await cli.run("fast", "web-04")).out == "web-04 polls in the usual way.\n"
    asked = await cli.json("fast", "web-04", "--for", "10m")
    assert asked["params"] == {"duration_s": 600}
    again = await cli.run("fast", "web-04", "--stop", expect=6)
    assert f"switched on already, by command {asked['id']}" in again.err
    async with api.owner.begin() as session:
        await session.execute(text("UPDATE agent SET fast_forever = true"))
        await session.execute(text("UPDATE command SET state = 'succeeded', envelope = '{}'"))
    assert "until it is stopped" in (await cli.run("fast", "web-04")).out
    assert (await cli.json("fast", "web-04", "--stop"))["kind"] == "disable_heartbeat"
    await cli.run("fast", "web-04", "--stop", "--for", "10m", expect=2)
    assert "from 1m to 24h" in (await cli.run("fast", "web-04", "--for", "25h", expect=2)).err
