"""Restarts: at most one for a command whatever crashes, proved by the boot id, cancellable until it is ordered."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from redflag_scanner_agent.packages.errors import ProgramFailedError
from redflag_scanner_agent.reboots import MISSED_S, SETTLE_S
from redflag_scanner_agent.restart import HostRestart, NoRestart, RestartRefusedError
from redflag_wire.command import Command
from redflag_wire.report import CommandState, Outcome
from redflag_wire.report_bodies import HostEvent
from tests.unit.scanner_agent.host import Host
from tests.unit.scanner_agent.test_helper_steps import CrashError, crash_at, install, restarted, words

ALLOWED = {"window": None, "allow_reboot": True, "max_runtime": None}


def reboot(host: Host, delay_s: int = 0, reason: str = "") -> Command:
    return host.command("reboot", params={"delay_s": delay_s, "reason": reason}, pol=ALLOWED)


async def running(host: Host, until: Callable[[], Awaitable[object]]) -> None:
    """Run the executor until a condition comes, then end it as a kill does."""
    work = asyncio.create_task(host.executor.run())
    async with asyncio.timeout(5):
        await until()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def one_life(host: Host) -> None:
    """Let a helper run until it dies, has nothing left to do, or the machine goes down under it."""
    host.restart.ordered.clear()
    work = asyncio.create_task(host.executor.run())
    async with asyncio.timeout(5):
        while (  # noqa: ASYNC110 - three things at once
            not work.done() and not host.restart.ordered.is_set() and host.journal.unfinished()
        ):
            await asyncio.sleep(0)
    work.cancel()
    (ended,) = await asyncio.gather(work, return_exceptions=True)
    assert ended is None or isinstance(ended, CrashError | asyncio.CancelledError)


async def told(host: Host) -> None:
    await host.restart.told.wait()
    await asyncio.sleep(0)


async def test_another_boot_id_is_the_proof(host: Host) -> None:
    command = reboot(host, reason="kernel")
    await host.give(command)
    await running(host, host.restart.ordered.wait)
    assert host.restart.notices == ["RedFlag: this host restarts now: kernel"]
    host.start()
    await host.work()
    assert words(host, command) == [
        (CommandState.RECEIVED, None, None),
        (CommandState.STARTED, None, None),
        (CommandState.DONE, Outcome.SUCCEEDED, None),
    ]
    assert host.restart.restarts == 1


POINTS = [
    "journal.before_started",
    "journal.within_started",
    "journal.after_started",
    "reboot.before_notice",
    "reboot.before_ordered",
    "reboot.within_ordered",
    "reboot.after_ordered",
    "reboot.after_restart",
    "journal.before_done",
    "journal.within_done",
    "journal.after_done",
]


@pytest.mark.parametrize("point", POINTS)
async def test_crash_at_any_point_and_five_starts_make_at_most_one_restart(host: Host, point: str) -> None:
    command = reboot(host)
    await host.give(command)
    crash_at(point)
    for _ in range(2):  # the point may lie before or after the restart
        await one_life(host)
        host.start()
        host.beacon()
        found = host.journal.find(str(command.cmd))
        if found is not None and found.ordered_ms is not None:
            host.clock.advance(SETTLE_S + 1)
    assert host.restart.restarts <= 1
    restarted(host)
    for _ in range(5):
        host.start()
        host.beacon()
        host.clock.advance(SETTLE_S + 1)
        await one_life(host)
    assert host.journal.unfinished() == []
    assert host.restart.restarts <= 1
    ends = [word for word in words(host, command) if word[0] is CommandState.DONE]
    assert len(ends) == 1
    if host.restart.restarts:
        assert ends[0] == (CommandState.DONE, Outcome.SUCCEEDED, None)
    else:
        assert ends[0][1] is Outcome.FAILED
        assert ends[0][2] in {"reboot_not_done", "reboot_missed"}


async def test_host_that_does_not_restart_says_so(host: Host) -> None:
    host.restart.does_nothing = True
    command = reboot(host)
    await host.give(command)
    await running(host, host.restart.ordered.wait)
    host.start()
    host.beacon()
    scan = host.command()
    await host.give(scan)
    work = asyncio.create_task(host.work())
    for _ in range(50):  # as far as it gets by itself
        await asyncio.sleep(0)
    assert words(host, command)[-1][0] is CommandState.STARTED  # it still has its time to go down
    assert host.manager.scans == 0  # and nothing begins meanwhile
    host.clock.advance(SETTLE_S + 1)
    host.executor.time_known()
    await work
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "reboot_not_done")
    assert words(host, scan)[-1][1] is Outcome.SUCCEEDED


async def test_order_that_is_refused_ends_at_once(host: Host) -> None:
    host.restart.refuse = RestartRefusedError("reboot_not_done", "systemctl ended with 1: no")
    command = reboot(host)
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "reboot_not_done")
    assert "systemctl" in str(host.bodies()[-1])


@pytest.mark.parametrize("over_a_restart_of_the_agent", [False, True])
async def test_delay_lets_others_run_and_can_be_cancelled(
    host: Host, over_a_restart_of_the_agent: bool
) -> None:
    command = reboot(host, delay_s=3600, reason="kernel")
    await host.give(command)
    await running(host, lambda: told(host))
    assert host.restart.notices == ["RedFlag: this host restarts in 60 minutes: kernel"]
    if over_a_restart_of_the_agent:
        for _ in range(5):  # no attempt that failed
            host.start()
            host.beacon()
            await running(host, lambda: asyncio.sleep(0))
    scan = host.command()
    await host.give(scan)
    work = asyncio.create_task(host.work())
    while words(host, scan)[-1][0] is not CommandState.DONE:
        host.changed.clear()
        await host.changed.wait()
    assert words(host, command)[-1][0] is CommandState.STARTED
    cancel = host.command("cancel", params={"cmd": str(command.cmd)})
    await host.give(cancel)
    await work
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.CANCELLED, "cancelled")
    assert words(host, cancel)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)
    host.clock.advance(7200)
    await host.work()
    assert host.restart.restarts == 0
    assert host.restart.notices[-1] == "RedFlag: the restart of this host was cancelled"


async def test_delay_goes_on_over_a_restart_of_the_agent_and_ends_in_one_restart(host: Host) -> None:
    command = reboot(host, delay_s=600)
    await host.give(command)
    await running(host, lambda: told(host))
    host.clock.advance(590)
    host.start()  # no beacon: the delay is the boot's own clock's
    work = asyncio.create_task(host.executor.run())
    await asyncio.sleep(0)
    assert host.restart.restarts == 0
    host.clock.advance(10)
    host.executor.time_known()
    await host.restart.ordered.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    host.start()
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)
    assert len(host.restart.notices) == 1


async def test_moment_that_passed_while_no_agent_ran_is_not_made_up_for(host: Host) -> None:
    command = reboot(host, delay_s=600)
    await host.give(command)
    await running(host, lambda: told(host))
    host.clock.advance(600 + MISSED_S + 1)
    host.start()
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "reboot_missed")
    assert host.restart.restarts == 0


async def test_ordered_restart_is_too_late_to_cancel(host: Host) -> None:
    host.restart.does_nothing = True
    command = reboot(host)
    await host.give(command)
    work = asyncio.create_task(host.executor.run())
    await host.restart.ordered.wait()
    cancel = host.command("cancel", params={"cmd": str(command.cmd)})
    await host.give(cancel)
    assert words(host, cancel)[-1] == (CommandState.DONE, Outcome.FAILED, "too_late")
    host.executor.stop()
    await work


async def test_order_that_cannot_be_written_down_is_not_given(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redflag_scanner_agent.errors import JournalError  # noqa: PLC0415 - one test's own

    def full(_cmd: str, _at: int) -> None:
        raise JournalError("journal_write", "the disk is full")

    monkeypatch.setattr(host.journal, "order_restart", full)
    command = reboot(host)
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "reboot_not_done")
    assert host.restart.restarts == 0


@pytest.mark.parametrize(
    ("pol", "policy", "code"),
    [
        ({**ALLOWED, "allow_reboot": False}, None, "reboot_not_allowed"),
        (ALLOWED, "allow_reboot = false", "reboot_policy"),
    ],
)
async def test_command_and_host_must_both_allow_it(
    host: Host, pol: dict[str, object], policy: str | None, code: str
) -> None:
    if policy is not None:
        host.policy.write_text(policy)
        host.policy.chmod(0o644)
    command = host.command("reboot", pol=pol)
    assert (await host.give(command))["code"] == code
    await host.work()
    assert host.restart.restarts == 0


async def test_notice_is_one_clean_line(host: Host) -> None:
    command = reboot(host, delay_s=90, reason="kernel üpdate")
    await host.give(command)
    await running(host, lambda: told(host))
    assert host.restart.notices == ["RedFlag: this host restarts in 90 seconds: kernel ?pdate"]


async def test_private_root_never_restarts_the_machine() -> None:
    with pytest.raises(RestartRefusedError):
        await NoRestart().restart()


@pytest.mark.parametrize(("systemd", "wanted"), [(True, "reboot"), (False, "-r now")])
async def test_programs_asked_to_restart(monkeypatch: pytest.MonkeyPatch, systemd: bool, wanted: str) -> None:
    asked: list[str] = []

    async def run(argv: list[str], **_options: object) -> object:
        asked.append(" ".join(argv))
        raise RestartRefusedError("stop", "here")

    monkeypatch.setattr("redflag_scanner_agent.restart.run_parsed", run)
    monkeypatch.setattr("redflag_scanner_agent.restart._runs_systemd", lambda: systemd)
    monkeypatch.setattr("redflag_scanner_agent.restart._first", lambda found: found[0])
    with pytest.raises(RestartRefusedError):
        await HostRestart().restart()
    assert len(asked) == 1
    assert asked[0].endswith(wanted)


async def test_cancel_in_the_very_moment_it_is_due_wins(host: Host) -> None:
    command, after = reboot(host, delay_s=60), host.command()
    await host.give(command)
    work = asyncio.create_task(host.executor.run())
    await told(host)
    host.pass_time(60)
    host.executor.time_known()  # it wakes up, and before it has looked the cancel is there
    await host.give(host.command("cancel", params={"cmd": str(command.cmd)}))
    await host.give(after)
    while host.journal.unfinished() and not work.done():  # noqa: ASYNC110 - two things at once
        await asyncio.sleep(0)
    host.executor.stop()
    await work
    assert host.restart.restarts == 0
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.CANCELLED, "cancelled")
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED


async def test_restart_cancelled_while_a_new_helper_looks_at_another_command_is_forgotten(host: Host) -> None:
    half, command = await install(host), reboot(host, delay_s=60)
    await host.give(command)
    await running(host, host.restart.told.wait)
    await host.give(half)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)
    host.beacon()
    host.manager.probe_gate = asyncio.Event()
    # The look at the installation comes first: the restart is recovered from what was read before it.
    left = host.journal.unfinished()
    host.journal.unfinished = lambda: sorted(left, key=lambda one: one.kind)  # type: ignore[method-assign]
    work = asyncio.create_task(host.executor.run())
    await host.manager.began.wait()
    del host.journal.unfinished
    await host.give(host.command("cancel", params={"cmd": str(command.cmd)}))
    host.manager.probe_gate.set()
    while host.journal.unfinished():  # noqa: ASYNC110 - whatever comes first
        await asyncio.sleep(0)
    host.pass_time(60)
    after = host.command()
    await host.give(after)
    while host.journal.unfinished() and not work.done():  # noqa: ASYNC110 - two things at once
        await asyncio.sleep(0)
    host.executor.stop()
    await work
    assert host.restart.restarts == 0
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.CANCELLED, "cancelled")


async def test_second_restart_is_not_ordered_while_the_host_goes_down_for_the_first(host: Host) -> None:
    host.restart.does_nothing = True
    orders: list[float] = []
    real = host.restart.restart

    async def restart() -> None:
        orders.append(host.clock.monotonic())
        await real()

    host.restart.restart = restart  # type: ignore[method-assign]
    second, first = reboot(host, delay_s=10), reboot(host)
    await host.give(second)
    work = asyncio.create_task(host.executor.run())
    await told(host)
    await host.give(first)
    await host.restart.ordered.wait()
    host.pass_time(11)
    host.executor.time_known()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(orders) == 1
    assert host.reboots.next_s() not in {None, 0.0}  # nor does it turn without rest until then
    host.executor.stop()
    await work


async def test_no_restart_while_somebody_changes_packages(host: Host) -> None:
    host.manager.busy = "process 42 (unattended-upgr)"
    command, after = reboot(host), reboot(host)
    await host.give(command)
    await host.work()
    assert host.restart.restarts == 0
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "packages_at_work")
    (body,) = [one for one in host.bodies() if isinstance(one, HostEvent)]
    assert "fake: process 42 (unattended-upgr)" in body.message
    host.manager.busy = None
    host.manager.fail_with = ProgramFailedError("apt-config is broken")  # that is no reason to stay up
    await host.give(after)
    await running(host, host.restart.ordered.wait)
    assert host.restart.restarts == 1


async def test_disk_that_every_start_brings_back_older_makes_no_circle_of_restarts(host: Host) -> None:
    """A snapshot taken while the restart was received: without a rule of its own it would restart until `exp`."""
    command = reboot(host)
    await host.give(command)
    host.close()
    snapshot = (host.directory / "host.db").read_bytes()
    for _ in range(10):
        (host.directory / "host.db").write_bytes(snapshot)
        for beside in ("host.db-wal", "host.db-shm"):
            (host.directory / beside).unlink(missing_ok=True)
        host.start()
        host.beacon()
        await one_life(host)
        assert host.file is not None
        host.fleet.clock.advance(60)  # a minute for going down and coming up
        host.clock.advance(60)
        host.clock._monotonic = 20.0  # the machine has just come up
    assert 1 <= host.restart.restarts <= 5
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)


async def test_host_started_after_it_was_asked_says_so_and_stays_up(host: Host) -> None:
    command = reboot(host)
    await host.give(command)
    host.pass_time(600)
    host.clock._monotonic = 300.0
    host.start()
    host.beacon()
    await host.work()
    assert host.restart.restarts == 0
    assert words(host, command)[-2:] == [
        (CommandState.STARTED, None, None),
        (CommandState.DONE, Outcome.SUCCEEDED, None),
    ]
    assert (
        "was not restarted once more"
        in next(one for one in host.bodies() if isinstance(one, HostEvent)).message
    )
