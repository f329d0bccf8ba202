"""Fast mode: one durable state per host, judged in trusted time, followed by the network process at once."""

from datetime import timedelta

import pytest

from redflag_scanner_agent.fast_mode import KEY, FastState, parse
from redflag_scanner_agent.local_view import _journal, status_text
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_wire.report import CommandState, Outcome
from tests.unit.scanner_agent.host import Host
from tests.unit.scanner_agent.test_helper_steps import CrashError, crash_at, restarted, words


async def ask(host: Host, kind: str, **params: object) -> None:
    command = host.command(kind, params=params)
    await host.give(command)
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)


async def test_it_begins_with_the_answer_that_brought_it_and_ends_by_itself(host: Host) -> None:
    assert (await host.ask("hello"))[0]["fast"] is False
    await ask(host, "enable_heartbeat", duration_s=600)
    assert host.fast is True
    host.pass_time(599)
    answer, _ = await host.ask("beacon", host.fleet.beacon())
    assert answer["fast"] is True
    host.pass_time(2)
    answer, _ = await host.ask("beacon", host.fleet.beacon())
    assert answer["fast"] is False
    assert (await host.ask("hello"))[0]["fast"] is False


@pytest.mark.parametrize("wall_clock_off_by", [-365, 365])
async def test_it_survives_restarts_and_a_wrong_wall_clock(host: Host, wall_clock_off_by: int) -> None:
    await ask(host, "enable_heartbeat", duration_s=3600)
    host.boot = "another"
    host.start()
    host.clock.set_now(host.fleet.clock.now() + timedelta(days=wall_clock_off_by))
    assert (await host.ask("hello"))[0]["fast"] is True  # no beacon yet: the end may lie ahead
    host.beacon()
    assert (await host.ask("hello"))[0]["fast"] is True
    host.pass_time(3601)
    host.beacon()
    assert (await host.ask("hello"))[0]["fast"] is False


async def test_until_stopped_is_until_stopped(host: Host) -> None:
    await ask(host, "enable_heartbeat", duration_s=None)
    host.pass_time(400 * 86_400 / 10)
    host.start()
    host.beacon()
    assert (await host.ask("hello"))[0]["fast"] is True
    await ask(host, "disable_heartbeat")
    assert host.fast is False
    await ask(host, "disable_heartbeat")
    host.start()
    assert (await host.ask("hello"))[0]["fast"] is False


async def test_asked_twice_is_one_state_with_the_later_answer(host: Host) -> None:
    await ask(host, "enable_heartbeat", duration_s=3600)
    await ask(host, "enable_heartbeat", duration_s=600)
    assert host.fast_mode.state == FastState(until=host.fleet.clock.now() + timedelta(seconds=600))


async def test_it_does_not_wait_behind_an_action(host: Host) -> None:
    await host.give(host.command())  # nobody runs the executor
    await ask(host, "enable_heartbeat", duration_s=600)
    assert host.fast is True


@pytest.mark.parametrize("point", ["journal.within_received", "journal.within_done", "journal.after_done"])
async def test_crash_leaves_all_of_it_or_nothing(host: Host, point: str) -> None:
    command = host.command("enable_heartbeat", params={"duration_s": 600})
    crash_at(point)
    with pytest.raises(CrashError):
        await host.give(command)
    restarted(host)
    assert host.fast_mode.state == FastState()
    assert host.journal.find(str(command.cmd)) is None
    host.beacon()
    await host.give(command)
    assert host.fast is True
    assert [word[0] for word in words(host, command)] == list(CommandState)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"until":1,"forever":false}', b"\xff"])
def test_state_that_cannot_be_read_is_off(data: bytes) -> None:
    assert parse(data) == FastState()
    assert KEY


async def test_status_shows_fast_mode_and_the_last_looks(host: Host) -> None:
    path = host.directory / "host.db"
    assert _journal(path)["fast_mode"] == {"asked": False, "until": None}
    await ask(host, "enable_heartbeat", duration_s=600)
    host.manager.fail_with = PackageManagerError("held", code="lock_held")
    await host.give(host.command())
    await host.work()
    names = ("agent", "server", "fleet", "contact")
    found = {"version": "1", "state_dir": "", "enrolled": True, **dict.fromkeys(names), **_journal(path)}
    text = status_text(found)
    assert "fast mode         until 2026-11-21T12:10:00.000Z" in text
    assert "last look         fake 2026-11-21T12:00:00.000Z, failed: lock_held" in text
    assert text.endswith("last look         system 2026-11-21T12:00:00.000Z")
    await ask(host, "enable_heartbeat", duration_s=None)
    assert "fast mode         until stopped" in status_text({**found, **_journal(path)})
    await ask(host, "disable_heartbeat")
    assert "fast mode         off" in status_text({**found, **_journal(path)})
