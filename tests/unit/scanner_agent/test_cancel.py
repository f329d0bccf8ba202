"""Cancelling on the host: before, during and after its target, over crashes, and never by halves."""

import asyncio
from collections.abc import Callable

import pytest

from redflag_scanner_agent import disk_patience
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.journal import JournalState
from redflag_scanner_agent.tombstones import LIFE, TOMBSTONES_MAX, Tombstones
from redflag_wire.command import Command
from redflag_wire.report import CommandState, Outcome
from redflag_wire.report_bodies import InstallResult, Plan
from tests.unit.scanner_agent.host import Host
from tests.unit.scanner_agent.test_helper_steps import (
    PACKAGES,
    CrashError,
    crash_at,
    install,
    planned,
    restarted,
    words,
)

CANCELLED = (CommandState.DONE, Outcome.CANCELLED, "cancelled")
SUCCEEDED = (CommandState.DONE, Outcome.SUCCEEDED, None)
TOO_LATE = (CommandState.DONE, Outcome.FAILED, "too_late")


def cancel_of(host: Host, target: Command) -> Command:
    return host.command("cancel", params={"cmd": str(target.cmd)})


async def test_waiting_command_is_cancelled_at_once_behind_a_running_one(host: Host) -> None:
    running, target = await install(host), host.command()
    host.manager.gate = asyncio.Event()
    await host.give(running)
    await host.give(target)
    work = asyncio.create_task(host.executor.run())
    await host.manager.began.wait()
    scans = host.manager.scans
    cancel = cancel_of(host, target)
    await host.give(cancel)
    assert words(host, target)[-1] == CANCELLED  # while the other one is still in hand
    assert words(host, cancel) == [
        (CommandState.RECEIVED, None, None),
        (CommandState.STARTED, None, None),
        SUCCEEDED,
    ]
    host.manager.gate.set()
    host.executor.stop()
    await work
    assert host.manager.scans == scans
    assert words(host, running)[-1][1] is Outcome.SUCCEEDED


@pytest.mark.parametrize("kind", ["scan", "dry_run_update"])
async def test_running_look_is_stopped(host: Host, kind: str) -> None:
    target = host.command() if kind == "scan" else host.command(kind, params=PACKAGES)
    host.manager.scan_gate = host.manager.plan_gate = asyncio.Event()
    await host.give(target)
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    await work
    assert words(host, target)[-1] == CANCELLED
    assert words(host, cancel)[-1] == SUCCEEDED
    host.manager.scan_gate = None
    after = host.command()
    await host.give(after)
    await host.work()
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED  # nothing of the stopped one stays behind


async def test_installation_before_it_acts_is_stopped_with_nothing_changed(host: Host) -> None:
    target = await install(host)
    host.manager.simulate_gate = asyncio.Event()
    await host.give(target)
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    await work
    assert words(host, target)[-1] == CANCELLED
    assert words(host, cancel)[-1] == SUCCEEDED
    assert host.manager.installed["hello"] == "1.0"
    assert host.manager.installs == 0


@pytest.mark.parametrize("step", ["simulate", "download"])
async def test_step_that_ends_with_its_caller_is_cut_off(
    host: Host, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target, ended = await install(host), []

    async def slow(_plan: Plan, on_step: Callable[[str], None], *, repair: bool = False) -> InstallResult:
        assert not repair
        on_step(step)
        host.manager.began.set()
        try:
            await asyncio.Event().wait()  # a mirror that gives a byte a minute
        finally:
            ended.append(step)
        raise AssertionError("it never ends by itself")

    monkeypatch.setattr(host.manager, "install", slow)
    await host.give(target)
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    await work
    assert ended == [step]
    assert words(host, target)[-1] == CANCELLED
    assert words(host, cancel)[-1] == SUCCEEDED


async def test_step_that_outlives_its_caller_is_finished_and_the_next_one_not_begun(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, step = await install(host), "repair"
    gate, finished, acted = asyncio.Event(), [], []

    async def slow(_plan: Plan, on_step: Callable[[str], None], *, repair: bool = False) -> InstallResult:
        assert not repair
        on_step(step)
        host.manager.began.set()
        await gate.wait()
        finished.append(step)
        on_step("install")
        acted.append("install")
        raise AssertionError("it was cancelled")

    monkeypatch.setattr(host.manager, "install", slow)
    await host.give(target)
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    for _ in range(20):
        await asyncio.sleep(0)
    assert words(host, cancel)[-1][0] is CommandState.STARTED  # it ends with its target
    gate.set()
    await work
    assert (finished, acted) == ([step], [])
    assert words(host, target)[-1] == CANCELLED
    assert words(host, cancel)[-1] == SUCCEEDED


async def test_installation_that_acts_goes_on_and_the_cancel_is_too_late(host: Host) -> None:
    target = await install(host)
    host.manager.gate = asyncio.Event()
    await host.give(target)
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    assert words(host, cancel)[-1] == TOO_LATE  # at once, not after hours
    host.manager.gate.set()
    await work
    assert words(host, target)[-1][1] is Outcome.SUCCEEDED
    assert host.manager.installed["hello"] == "1.1"


async def test_cancel_of_what_has_ended_is_too_late(host: Host) -> None:
    target = host.command()
    await host.give(target)
    await host.work()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    assert words(host, cancel)[-1] == TOO_LATE
    assert words(host, target)[-1] == SUCCEEDED


async def test_second_cancel_of_what_was_cancelled_succeeds_too(host: Host) -> None:
    target = host.command()
    await host.give(target)
    for _ in range(2):
        cancel = cancel_of(host, target)
        await host.give(cancel)
        assert words(host, cancel)[-1] == SUCCEEDED
    assert [one for one in words(host, target) if one[0] is CommandState.DONE] == [CANCELLED]


async def test_cancel_that_comes_first_refuses_its_target_over_restarts(host: Host) -> None:
    target = host.command()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    assert words(host, cancel)[-1] == SUCCEEDED
    host.start()
    host.beacon()
    for _ in range(2):
        answer = await host.give(target)
        assert answer == {"verdict": "refused", "ack": True, "code": "cancelled"}
    assert words(host, target) == [CANCELLED]
    await host.work()
    assert host.manager.scans == 0
    assert host.journal.find(str(target.cmd)) is None


async def test_tombstones_end_and_are_bounded(host: Host) -> None:
    assert host.file is not None
    found, now = Tombstones(host.file), host.fleet.clock.now()
    found.bury("a", now)
    assert found.holds("a", now + LIFE)
    assert found.holds("a", None)
    assert not found.holds("a", now + LIFE * 1.01)
    assert found.prune(now + LIFE * 1.01) == 1
    with host.file.transaction():
        for number in range(TOMBSTONES_MAX + 5):
            found.bury(f"{number:06d}", now + number * (LIFE / TOMBSTONES_MAX / 1000))
    assert host.file.db.execute("SELECT count(*) FROM tombstone").fetchone()[0] == TOMBSTONES_MAX
    assert not found.holds("000004", now)
    assert found.holds(f"{TOMBSTONES_MAX + 4:06d}", now)


@pytest.mark.parametrize("point", ["journal.within_done", "journal.after_done"])
async def test_crash_while_a_cancel_is_settled_loses_and_doubles_nothing(host: Host, point: str) -> None:
    target = host.command()
    await host.give(target)
    cancel = cancel_of(host, target)
    crash_at(point)
    with pytest.raises(CrashError):
        await host.give(cancel)
    restarted(host)
    host.beacon()
    found = host.journal.find(str(target.cmd))
    assert found is not None
    assert found.state is JournalState.RECEIVED  # all of it was one transaction
    assert (await host.give(cancel))["ack"] is True
    await host.work()
    assert [one for one in words(host, target) if one[0] is CommandState.DONE] == [CANCELLED]
    assert [one for one in words(host, cancel) if one[0] is CommandState.DONE] == [SUCCEEDED]
    assert host.manager.scans == 0


@pytest.mark.parametrize("acted", [False, True])
async def test_wish_to_stop_survives_a_crash(host: Host, acted: bool) -> None:
    target = await install(host)
    host.manager.simulate_gate = asyncio.Event()
    await host.give(target)
    work = asyncio.create_task(host.executor.run())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    crash_at("journal.before_done")
    await host.give(cancel)
    with pytest.raises(CrashError):
        await work
    restarted(host)
    host.manager.simulate_gate = None
    if acted:  # by some other way the plan is in place
        host.manager.installed["hello"] = "1.1"
    host.beacon()
    await host.work()
    assert words(host, target)[-1] == (
        (CommandState.DONE, Outcome.SUCCEEDED, "probed") if acted else CANCELLED
    )
    assert words(host, cancel)[-1] == (TOO_LATE if acted else SUCCEEDED)
    assert host.manager.installs == 0


async def test_cancel_of_itself_and_of_another_cancel_ends(host: Host) -> None:
    first = host.command()
    cancel = cancel_of(host, first)
    await host.give(cancel)
    again = cancel_of(host, cancel)
    await host.give(again)
    assert words(host, again)[-1] == TOO_LATE
    own = host.command("cancel", params={"cmd": str(again.cmd)})
    own = host.command("cancel", cmd=own.cmd, params={"cmd": str(own.cmd)})
    await host.give(own)
    assert words(host, own)[-1] == TOO_LATE
    assert host.journal.unfinished() == []


async def test_cancel_finds_room_where_others_find_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redflag_scanner_agent.journal.OPEN_MAX", 1)
    target = host.command()
    await host.give(target)
    assert (await host.give(host.command()))["code"] == "journal_full"
    cancel = cancel_of(host, target)
    assert (await host.give(cancel))["verdict"] == "journaled"
    assert words(host, target)[-1] == CANCELLED


async def test_rollback_and_the_modes_without_names(host: Host) -> None:
    host.manager.archive = {"hello": "0.9"}
    back = {"manager": "fake", "packages": [{"name": "hello", "arch": "all", "version": "0.9"}]}
    plan = host.command("dry_run_update", params={**back, "mode": "rollback"})
    await host.give(plan)
    await host.work()
    digest = host.reports()[-1].plan_digest
    wrong = host.command("install_updates", params={**PACKAGES, "mode": "packages", "plan_digest": digest})
    rollback = host.command("rollback_update", params={**back, "plan_digest": digest})
    for command in (wrong, rollback):
        await host.give(command)
        await host.work()
    assert words(host, wrong)[-1] == (CommandState.DONE, Outcome.FAILED, "plan_unknown")
    assert words(host, rollback)[-1] == SUCCEEDED
    assert host.manager.installed["hello"] == "0.9"
    everything = {"manager": "fake", "packages": [], "mode": "full"}
    plan = host.command("dry_run_update", params=everything)
    await host.give(plan)
    await host.work()
    full = host.command(
        "install_updates", params={**everything, "plan_digest": host.reports()[-1].plan_digest}
    )
    await host.give(full)
    await host.work()
    assert host.manager.installed == {"hello": "1.1", "world": "2.1"}
    assert await planned(host)


async def test_cancel_that_comes_while_another_command_is_probed_ends_what_only_waits(host: Host) -> None:
    half, target, after = await install(host), host.command(), host.command()
    for one in (half, target, after):
        await host.give(one)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)
    host.beacon()
    host.manager.probe_gate = asyncio.Event()
    scans = host.manager.scans
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    cancel = cancel_of(host, target)
    await host.give(cancel)
    assert words(host, target)[-1] == CANCELLED
    host.manager.probe_gate.set()
    await work  # the helper does not stumble over what has ended meanwhile
    assert words(host, target)[-1] == CANCELLED
    assert words(host, cancel)[-1] == SUCCEEDED
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED
    assert host.manager.scans == scans + 1


async def test_cancel_that_comes_while_a_command_waits_for_the_disk_ends_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_patience, "DISK_RETRY_FIRST_S", 0.001)
    target, after = host.command(), host.command()
    await host.give(target)
    await host.give(after)
    tried, full, real = asyncio.Event(), [True], host.journal.start

    def start(cmd: str, **values: object) -> None:
        if cmd == str(target.cmd) and full:
            tried.set()
            raise JournalError("journal_write", "the disk is full")
        real(cmd, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(host.journal, "start", start)
    work = asyncio.create_task(host.work())
    await tried.wait()
    await host.give(cancel_of(host, target))
    full.clear()
    await work
    assert words(host, target) == [(CommandState.RECEIVED, None, None), CANCELLED]
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED


async def test_cancel_left_behind_waits_for_room_on_the_disk(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_patience, "DISK_RETRY_FIRST_S", 0.001)
    target, broken = host.command(), [True]
    cancel = cancel_of(host, target)
    await host.give(target)
    monkeypatch.setattr(host.executor, "_now", lambda: None)  # no trusted time when it came
    await host.give(cancel)
    assert words(host, cancel) == [(CommandState.RECEIVED, None, None)]
    host.start()
    host.beacon()
    real = host.journal.start

    def start(cmd: str, **values: object) -> None:
        if broken:
            broken.pop()
            raise JournalError("journal_write", "the disk is full")
        real(cmd, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(host.journal, "start", start)
    await host.work()
    assert words(host, target)[-1] == CANCELLED
    assert words(host, cancel)[-1] == SUCCEEDED
