"""Steps 10 to 15 with a real journal: what is written, what is said, what happens after a crash at each point."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pytest

from redflag_scanner_agent import failpoints
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.journal import JournalState
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_wire import inventory_digest
from redflag_wire.command import Command
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.envelope import digest
from redflag_wire.report import CommandState, Outcome, ReportKind
from redflag_wire.report_bodies import HostEvent, InstallResult, Inventory, Plan, PlanItem, PlanResult
from tests.unit.scanner_agent.host import Host

REFS = [{"name": "hello", "arch": "all", "version": "1.1"}]
PACKAGES = {"manager": "fake", "packages": REFS}


class CrashError(BaseException):
    """The process dies here; nothing in the program may catch it."""


def crash_at(wanted: str) -> None:
    def hook(name: str) -> None:
        if name == wanted:
            raise CrashError

    failpoints.set_hook(hook)


def restarted(host: Host) -> None:
    failpoints.set_hook(None)
    host.start()


async def planned(host: Host) -> str:
    command = host.command("dry_run_update", params=PACKAGES)
    await host.give(command)
    await host.work()
    entry = host.journal.find(str(command.cmd))
    assert entry is not None
    assert entry.plan_digest is not None
    return entry.plan_digest


async def install(host: Host, **changes: object) -> Command:
    return host.command("install_updates", params={**PACKAGES, "plan_digest": await planned(host)}, **changes)


def words(host: Host, command: Command) -> list[tuple[CommandState | None, Outcome | None, str | None]]:
    return [(one.state, one.result, one.code) for one in host.reports() if one.cmd == command.cmd]


async def test_scan_reports_received_started_done_with_its_inventory(host: Host) -> None:
    command = host.command()
    answer = await host.give(command)
    assert answer == {"verdict": "journaled", "ack": True}
    assert words(host, command) == [(CommandState.RECEIVED, None, None)]  # before anything has acted
    assert host.manager.scans == 0
    await host.work()
    assert words(host, command)[1:] == [
        (CommandState.STARTED, None, None),
        (CommandState.DONE, Outcome.SUCCEEDED, None),
    ]
    report = host.reports()[-1]
    assert report.cmd_digest == digest(command.to_bytes())
    assert report.started == report.finished == host.fleet.clock.now()
    body = host.bodies()[-1]
    assert isinstance(body, Inventory)
    assert body.digest == inventory_digest.of(body.updates)


async def test_dry_run_gives_the_plan_and_keeps_its_bytes(host: Host) -> None:
    found = await planned(host)
    body = host.bodies()[-1]
    assert isinstance(body, PlanResult)
    assert body.download_bytes == 1_000
    assert body.plan.digest == found == host.reports()[-1].plan_digest
    assert host.journal.plan(found) == body.plan_bytes


async def test_install_does_exactly_the_plan(host: Host) -> None:
    command = await install(host)
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)
    assert host.manager.installed == {"hello": "1.1", "world": "2.0"}
    assert isinstance(host.bodies()[-1], InstallResult)


async def test_install_reports_a_wanted_restart(host: Host) -> None:
    command = await install(host)
    host.manager.crash = lambda: setattr(host, "needs_reboot", True)
    await host.give(command)
    await host.work()
    assert words(host, command)[-1][1] is Outcome.SUCCEEDED_PENDING_REBOOT


async def test_install_of_a_plan_that_would_differ_now_does_nothing(host: Host) -> None:
    command = await install(host)
    host.manager.installed["hello"] = "1.0.5"
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.PLAN_DRIFT, "plan_drift")
    body = host.bodies()[-1]
    assert isinstance(body, InstallResult)
    assert body.drift is not None
    assert [item.old for item in body.drift.changed] == ["1.0.5"]
    assert host.manager.installs == 0


async def test_install_of_a_plan_this_host_never_made_does_nothing(host: Host) -> None:
    command = host.command("install_updates", params={**PACKAGES, "plan_digest": "sha256:" + "0" * 64})
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "plan_unknown")
    assert host.manager.installs == 0


def bring_along(host: Host, monkeypatch: pytest.MonkeyPatch, new: str | None) -> None:
    """Make every plan touch `gamma` beside what was asked for; None as its new version removes it."""
    real = host.manager.plan

    async def wider(request: list[PackageRef], mode: PlanMode = PlanMode.PACKAGES) -> Plan:
        found = await real(request, mode)
        action: Literal["install", "remove"] = "remove" if new is None else "install"
        gamma = PlanItem(
            name="gamma",
            arch="all",
            old="1.0" if new is None else None,
            new=new,
            origin="fake",
            action=action,
        )
        return Plan(manager=found.manager, request=found.request, items=[gamma, *found.items])

    monkeypatch.setattr(host.manager, "plan", wider)


@pytest.mark.parametrize("new", ["1.0", None])
@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ('[packages]\ndeny = ["gamma"]', "package_policy"),
        ('[packages]\nallow = ["hello"]', "package_policy"),
        ("no policy", "policy_unreadable"),
    ],
)
async def test_install_whose_plan_touches_a_refused_package_is_rejected(
    host: Host, monkeypatch: pytest.MonkeyPatch, new: str | None, policy: str, code: str
) -> None:
    bring_along(host, monkeypatch, new)
    command = await install(host)
    await host.give(command)
    host.policy.write_text(policy)
    host.policy.chmod(0o644)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.REJECTED, code)
    assert host.manager.installs == 0


async def test_dry_run_that_would_touch_a_refused_package_is_rejected_and_keeps_no_plan(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_along(host, monkeypatch, "1.0")
    host.policy.write_text('[packages]\ndeny = ["gamma"]')
    host.policy.chmod(0o644)
    command = host.command("dry_run_update", params=PACKAGES)
    assert (await host.give(command))["verdict"] == "journaled"  # nothing it names is refused
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.REJECTED, "package_policy")
    assert "gamma" in str(host.bodies()[-1])
    entry = host.journal.find(str(command.cmd))
    assert entry is not None
    assert entry.plan_digest is None


async def test_manager_that_refuses_is_a_failed_command_with_its_code(host: Host) -> None:
    host.manager.fail_with = PackageManagerError("held by apt (pid 7)", code="lock_held")
    command = host.command()
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "lock_held")
    body = host.bodies()[-1]
    assert isinstance(body, HostEvent)
    assert body.message == "held by apt (pid 7)"


async def test_same_command_twice_is_one_effect_and_the_stored_answer(host: Host) -> None:
    command = await install(host)
    await host.give(command)
    assert await host.give(command) == {"verdict": "known", "ack": True}
    await host.work()
    before = len(host.reports())
    assert await host.give(command) == {"verdict": "known", "ack": True}
    assert len(host.reports()) == before  # the answer is still on its way
    host.spool.confirm(host.spool.last_rseq)
    host.start()
    host.beacon()
    assert await host.give(command) == {"verdict": "known", "ack": True}
    assert words(host, command) == [(CommandState.DONE, Outcome.SUCCEEDED, None)]
    assert isinstance(host.bodies()[-1], InstallResult)  # body and all
    await host.work()
    assert host.manager.installs == 1


async def test_same_command_with_other_bytes_is_an_alarm_and_nothing_else(host: Host) -> None:
    command = host.command(params={"subsystem": "fake"})
    await host.give(command)
    await host.work()
    before, scans = host.reports(), host.manager.scans
    answer = await host.give(host.command(cmd=command.cmd))
    assert answer == {"verdict": "refused", "ack": True, "code": "cmd_conflict"}
    await host.work()
    assert host.reports() == before
    assert host.manager.scans == scans
    waiting = host.spool.first_pending()
    assert waiting is not None
    assert waiting.kind is ReportKind.EVENT
    found = host.journal.find(str(command.cmd))
    assert found is not None
    assert found.digest == digest(command.to_bytes())


async def test_seq_at_or_below_the_floor_is_stale(host: Host) -> None:
    old = host.command()
    await host.give(old)
    await host.work()
    host.pass_time(3600 + 48 * 3600 + 1)
    host.beacon()
    later = host.command()
    await host.give(later)
    await host.work()
    assert host.journal.floor == old.seq
    stale = host.command(seq=old.seq)
    assert (await host.give(stale))["code"] == "stale"
    assert words(host, stale) == [(CommandState.DONE, Outcome.REJECTED, "stale")]


@pytest.mark.parametrize(
    ("kind", "params", "code"),
    [("update_agent", {"version": "1.2.3"}, "kind_unsupported"), ("reboot", {}, "reboot_not_allowed")],
)
async def test_refusal_is_reported_once_and_leaves_no_trace_in_the_journal(
    host: Host, kind: str, params: dict[str, object], code: str
) -> None:
    command = host.command(kind, params=params)
    for _ in range(3):
        answer = await host.give(command)
        assert answer == {"verdict": "refused", "ack": True, "code": code}
    assert words(host, command) == [(CommandState.DONE, Outcome.REJECTED, code)]
    assert host.journal.find(str(command.cmd)) is None
    assert host.service.refusals[f"8_{code}"] == 3


async def test_expired_command_ends_as_expired(host: Host) -> None:
    command = host.command()
    host.pass_time(3601)
    host.beacon()
    assert (await host.give(command))["code"] == "expired"
    assert words(host, command) == [(CommandState.DONE, Outcome.EXPIRED, "expired")]


async def test_command_that_expires_while_it_waits_never_begins(host: Host) -> None:
    command = host.command()
    await host.give(command)
    host.pass_time(3601)
    host.beacon()
    await host.work()
    assert words(host, command) == [
        (CommandState.RECEIVED, None, None),
        (CommandState.DONE, Outcome.EXPIRED, "expired"),
    ]
    assert host.manager.scans == 0


async def test_command_outside_its_window_never_begins(host: Host) -> None:
    now = host.fleet.clock.now()
    window = {"opens": now + timedelta(minutes=5), "closes": now + timedelta(minutes=9)}
    command = host.command(pol={"window": window, "allow_reboot": False, "max_runtime": None})
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.REJECTED, "window")
    assert host.manager.scans == 0


async def test_refusals_of_one_code_make_few_events(host: Host) -> None:
    for _ in range(5):
        await host.ask("command", b"not an envelope")
    host.clock.advance(61)
    await host.ask("command", b"not an envelope")
    rows = host.file.db.execute("SELECT count(*) AS n FROM pending").fetchone()  # type: ignore[union-attr]
    assert rows["n"] == 2
    assert host.service.refusals["1_envelope"] == 6
    assert host.reports() == []


async def test_unknown_time_defers_and_says_nothing_in_the_command_s_name(host: Host) -> None:
    host.start()  # no beacon in this process yet
    command = host.command()
    answer = await host.give(command)
    assert answer == {"verdict": "deferred", "ack": False, "code": "time_unknown"}
    assert host.reports() == []
    host.beacon()
    assert (await host.give(command))["verdict"] == "journaled"


@pytest.mark.parametrize("years", [-10, 10])
async def test_wall_clock_that_is_years_off_changes_nothing(host: Host, years: int) -> None:
    host.clock.set_now(host.fleet.clock.now() + timedelta(days=365 * years))
    command = await install(host)
    await host.give(command)
    await host.work()
    assert words(host, command)[-1][1] is Outcome.SUCCEEDED
    report = host.reports()[-1]
    assert report.started == host.fleet.clock.now()
    assert report.at == host.clock.now()  # informational, and honest


BEFORE_ACK = ["journal.before_received", "journal.within_received", "journal.after_received"]
AT_WORK = [
    "journal.before_started",
    "journal.within_started",
    "journal.after_started",
    "executor.before_act",
    "executor.after_act",
    "journal.before_done",
    "journal.within_done",
    "journal.after_done",
]


@pytest.mark.parametrize("point", BEFORE_ACK)
async def test_crash_before_the_acknowledgement_is_answered_by_redelivery(host: Host, point: str) -> None:
    command = await install(host)
    crash_at(point)
    with pytest.raises(CrashError):
        await host.give(command)
    restarted(host)
    host.beacon()
    answer = await host.give(command)
    assert answer["ack"] is True
    await host.work()
    assert host.manager.installs == 1
    assert [word[0] for word in words(host, command)] == list(CommandState)


@pytest.mark.parametrize("point", AT_WORK)
async def test_crash_at_work_has_at_most_one_effect_and_one_end(host: Host, point: str) -> None:
    command = await install(host)
    await host.give(command)
    crash_at(point)
    with pytest.raises(CrashError):
        await host.executor.run()
    began_before = host.manager.installs
    restarted(host)
    host.beacon()
    await host.work()
    never_begun = {"journal.before_started", "journal.within_started"}
    assert host.manager.installs == (1 if point in never_begun else began_before)
    ends = [word for word in words(host, command) if word[0] is CommandState.DONE]
    assert len(ends) == 1
    acted = host.manager.installed["hello"] == "1.1"
    assert ends[0][1] is (Outcome.SUCCEEDED if acted else Outcome.FAILED)
    numbers = [report.rseq for report in host.reports()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("answer", [Outcome.PARTIAL, Outcome.UNKNOWN])
async def test_probe_s_word_is_the_result(host: Host, answer: Outcome) -> None:
    command = await install(host)
    await host.give(command)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)
    host.manager.probe_answer = answer
    await host.work()  # no beacon is needed to look
    assert words(host, command)[-1] == (CommandState.DONE, answer, "probed")
    assert host.manager.installs == 0


async def test_probe_that_fails_is_unknown(host: Host) -> None:
    command = await install(host)
    await host.give(command)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)
    host.manager.fail_with = PackageManagerError("no dpkg")
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.UNKNOWN, "probe_failed")


@pytest.mark.parametrize("error", [OSError("disk on fire"), ValueError("no such state")])
async def test_probe_that_breaks_is_unknown_and_the_helper_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    command = await install(host)
    await host.give(command)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)

    async def broken(_plan: object) -> Outcome:
        raise error

    monkeypatch.setattr(host.manager, "probe", broken)
    await host.work()  # raises what ended the executor
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.UNKNOWN, "probe_broke")
    assert str(error) in str(host.bodies()[-1])
    host.beacon()
    scan = host.command()
    await host.give(scan)
    await host.work()
    assert words(host, scan)[-1][1] is Outcome.SUCCEEDED


async def test_probe_of_a_plan_that_cannot_be_read_is_unknown(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = await install(host)
    await host.give(command)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)
    monkeypatch.setattr(host.actions, "_stored_plan", lambda _digest: b"no plan")
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.UNKNOWN, "plan_unreadable")
    assert host.manager.probes == 0


async def test_probe_with_a_failing_journal_ends_the_helper(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = await install(host)
    await host.give(command)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)

    def failing(_digest: str) -> bytes:
        raise JournalError("journal", "disk full")

    monkeypatch.setattr(host.actions, "_stored_plan", failing)
    with pytest.raises(JournalError):
        await host.executor.run()


async def test_work_that_breaks_is_unknown_and_the_helper_goes_on(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*, refresh: bool) -> Inventory:
        raise LookupError(f"nothing there, refresh={refresh}")

    command = host.command()
    with monkeypatch.context() as patch:
        patch.setattr(host.manager, "scan", broken)
        await host.give(command)
        await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.UNKNOWN, "agent_error")
    scan = host.command()
    await host.give(scan)
    await host.work()
    assert words(host, scan)[-1][1] is Outcome.SUCCEEDED


async def test_scan_that_was_interrupted_is_failed_and_not_repeated(host: Host) -> None:
    command = host.command()
    await host.give(command)
    crash_at("executor.before_act")
    with pytest.raises(CrashError):
        await host.executor.run()
    restarted(host)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "interrupted")
    assert (host.manager.scans, host.manager.probes) == (0, 0)


async def test_stop_finishes_the_action_in_hand_and_begins_no_other(host: Host) -> None:
    first, second = await install(host), host.command()
    host.manager.gate = asyncio.Event()
    await host.give(first)
    await host.give(second)
    work = asyncio.create_task(host.executor.run())
    await host.manager.began.wait()
    host.executor.stop()
    host.manager.gate.set()
    async with asyncio.timeout(5):
        await work
    assert words(host, first)[-1][1] is Outcome.SUCCEEDED
    entry = host.journal.find(str(second.cmd))
    assert entry is not None
    assert entry.state is JournalState.RECEIVED
    host.start()
    host.beacon()
    await host.work()
    assert words(host, second)[-1][1] is Outcome.SUCCEEDED


async def test_stop_ends_a_scan_in_hand_at_once_and_says_so(host: Host) -> None:
    command = host.command()
    host.manager.scan_gate = asyncio.Event()
    await host.give(command)
    work = asyncio.create_task(host.executor.run())
    await host.manager.began.wait()
    host.executor.stop()
    async with asyncio.timeout(5):
        await work
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "interrupted")


async def test_install_that_takes_too_long_is_looked_at_not_killed(host: Host) -> None:
    command = await install(host, pol={"window": None, "allow_reboot": False, "max_runtime": 1})
    host.manager.gate = asyncio.Event()
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "probed")
    assert host.manager.probes == 1


async def test_output_too_large_for_a_report_is_cut_and_the_result_kept(host: Host) -> None:
    command = await install(host)
    real = host.manager.install

    async def noisy(plan: Plan, on_step: Callable[[str], None], *, repair: bool = False) -> InstallResult:
        result = await real(plan, on_step, repair=repair)
        return result.model_copy(update={"stdout": secrets.token_hex(2_000_000)})

    host.manager.install = noisy  # type: ignore[method-assign]
    await host.give(command)
    await host.work()
    assert words(host, command)[-1][1] is Outcome.SUCCEEDED
    body = host.bodies()[-1]
    assert isinstance(body, InstallResult)
    assert "characters left out" in body.stdout
