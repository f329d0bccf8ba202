"""A full disk, a command that kills the helper, and what the agent tells of itself."""

import asyncio
from datetime import timedelta

import pytest

from redflag_scanner_agent import disk_patience, executor
from redflag_scanner_agent.actions import Actions, Ending
from redflag_scanner_agent.control import Control
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.host_events import tell_start
from redflag_scanner_agent.packages.errors import MirrorUnreachableError
from redflag_wire import agent_version
from redflag_wire.command import Command
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.report import BodyRef, CommandState, Outcome, ReportKind
from redflag_wire.report_bodies import HostEvent, Inventory, parse_body
from redflag_wire.report_body_codec import open_body
from tests.support.fake_manager import FakeManager
from tests.unit.scanner_agent.host import Host
from tests.unit.scanner_agent.test_helper_steps import PACKAGES, CrashError, install, words


def fill(host: Host) -> None:
    """Let the journal's disk be full: no page more."""
    assert host.file is not None
    db = host.file.db
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")


def empty(host: Host) -> None:
    assert host.file is not None
    host.file.db.execute("PRAGMA max_page_count=1000000")


def events(host: Host) -> list[HostEvent]:
    """The events that wait for the agent key."""
    assert host.file is not None
    found = []
    for row in host.file.db.execute("SELECT kind, body, body_ref FROM pending ORDER BY id"):
        if row["kind"] == ReportKind.EVENT:
            body = parse_body(open_body(row["body"], BodyRef.model_validate_json(row["body_ref"])))
            assert isinstance(body, HostEvent)
            found.append(body)
    return found


async def test_full_disk_acknowledges_nothing_and_takes_it_when_there_is_room(host: Host) -> None:
    fill(host)
    kept: list[Command] = []

    async def until_full() -> Command:
        for _ in range(50):  # what still fits into the pages there are is kept in full
            command = host.command()
            try:
                await host.give(command)
            except JournalError:
                return command
            kept.append(command)
        raise AssertionError("the disk was never full")

    refused = await until_full()
    assert host.journal.find(str(refused.cmd)) is None
    assert words(host, refused) == []
    empty(host)
    assert (await host.give(refused))["ack"] is True
    await host.work()
    for command in (*kept, refused):
        assert words(host, command)[-1][1] is Outcome.SUCCEEDED
    numbers = [report.rseq for report in host.reports()]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_result_of_an_installation_waits_for_room_on_the_disk(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_patience, "DISK_RETRY_FIRST_S", 0.001)
    tried, full = asyncio.Event(), [True]
    real = host.journal.finish

    def finish(cmd: str, **values: object) -> None:
        if full:
            tried.set()
            raise JournalError("journal_write", "the disk is full")
        real(cmd, **values)  # type: ignore[arg-type]

    command = await install(host)
    monkeypatch.setattr(host.journal, "finish", finish)
    host.manager.gate = asyncio.Event()
    await host.give(command)
    work = asyncio.create_task(host.work())
    await host.manager.began.wait()
    host.manager.gate.set()
    await tried.wait()
    assert words(host, command)[-1][0] is CommandState.STARTED  # nothing is told that is not on the disk
    full.clear()
    await work
    assert words(host, command)[-1] == (
        CommandState.DONE,
        Outcome.SUCCEEDED,
        None,
    )  # its own word, not a probe's
    assert host.manager.installs == 1


async def test_end_that_left_no_room_for_tidying_up_stands(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prune(_now: object) -> int:
        raise JournalError("journal_write", "the disk is full")

    monkeypatch.setattr(host.journal, "prune", prune)
    first, second = host.command(), host.command()
    await host.give(first)
    await host.give(second)
    await host.work()
    for command in (first, second):
        assert words(host, command)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)


@pytest.mark.parametrize("kind", ["scan", "install_updates"])
async def test_command_that_kills_the_helper_is_given_up_and_the_next_one_runs(
    host: Host, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    poison = host.command() if kind == "scan" else await install(host)
    after = host.command()
    real_act, real_probe = Actions.act, Actions.probe

    async def act(self: Actions, command: Command, control: Control) -> Ending:
        if command.cmd == poison.cmd:
            raise CrashError
        return await real_act(self, command, control)

    async def probe(self: Actions, command: Command) -> Ending:
        if command.cmd == poison.cmd:
            raise CrashError
        return await real_probe(self, command)

    monkeypatch.setattr(Actions, "act", act)
    monkeypatch.setattr(Actions, "probe", probe)
    await host.give(poison)
    await host.give(after)
    for _ in range(executor.ATTEMPTS_MAX):
        with pytest.raises(CrashError):
            await host.executor.run()
        host.start()
        host.beacon()
    await host.work()
    assert words(host, poison)[-1] == (CommandState.DONE, Outcome.UNKNOWN, "attempts")
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED
    assert [event.code for event in events(host)] == ["command_given_up"]


async def test_giving_up_waits_for_room_on_the_disk_and_is_told_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_patience, "DISK_RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(executor, "ATTEMPTS_MAX", 0)
    command = host.command()
    await host.give(command)
    real, full = host.spool.add_pending, [True, True]

    def add_pending(kind: ReportKind, body: bytes, ref: BodyRef) -> int:
        if full:
            full.pop()
            raise JournalError("journal_write", "the disk is full")
        return real(kind, body, ref)

    monkeypatch.setattr(host.spool, "add_pending", add_pending)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.FAILED, "attempts")
    assert [event.code for event in events(host)] == ["command_given_up"]


async def test_command_that_kills_the_helper_before_it_begins_is_failed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, after = host.command(), host.command()
    await host.give(poison)
    await host.give(after)
    real = Command.from_bytes

    def reading(data: bytes) -> Command:
        if data == poison.to_bytes():
            raise CrashError
        return real(data)

    monkeypatch.setattr(Command, "from_bytes", reading)
    for _ in range(executor.ATTEMPTS_MAX):
        with pytest.raises(CrashError):
            await host.executor.run()
        host.start()
        host.beacon()
    await host.work()
    assert words(host, poison)[-1] == (CommandState.DONE, Outcome.FAILED, "attempts")
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED


async def test_stored_command_that_a_newer_agent_cannot_read_ends(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, after = host.command(), host.command()
    await host.give(poison)
    await host.give(after)
    real = Command.from_bytes

    def reading(data: bytes) -> Command:
        if data == poison.to_bytes():
            raise SchemaRefusedError("schema", "read more strictly now")
        return real(data)

    monkeypatch.setattr(Command, "from_bytes", reading)
    await host.work()
    assert words(host, poison)[-1] == (CommandState.DONE, Outcome.FAILED, "payload")
    assert words(host, after)[-1][1] is Outcome.SUCCEEDED


async def test_one_subsystem_that_fails_hides_no_other(host: Host) -> None:
    broken = FakeManager(name="other")
    host.more_managers = [broken]
    host.start()
    host.beacon()
    broken.fail_with = MirrorUnreachableError("no route to mirror")
    command = host.command()
    await host.give(command)
    await host.work()
    assert words(host, command)[-1] == (CommandState.DONE, Outcome.PARTIAL, "scan_partial")
    assert isinstance(host.bodies()[-1], Inventory)
    (event,) = events(host)
    assert (event.code, event.data["subsystem"]) == ("scan_failed", "other")
    assert "no route to mirror" in event.message


async def test_final_refusal_survives_a_restart(host: Host) -> None:
    command = host.command("update_agent", params={"version": "9"})
    await host.give(command)
    told = words(host, command)
    host.start()
    host.beacon()
    await host.give(command)
    assert words(host, command) == told == [(CommandState.DONE, Outcome.REJECTED, "kind_unsupported")]
    host.spool.confirm(host.spool.last_rseq)
    await host.give(command)  # the server asks again: it is told again
    assert words(host, command) == told


@pytest.mark.parametrize(
    ("kind", "params", "allowed"),
    [
        ("scan", {}, True),
        ("collect_specs", {}, True),
        ("dry_run_update", PACKAGES, True),
        ("install_updates", {**PACKAGES, "plan_digest": "sha256:" + "0" * 64}, False),
        ("reboot", {}, False),
        ("enable_heartbeat", {"duration_s": 60}, False),
    ],
)
async def test_agent_below_the_minimum_only_looks(
    host: Host, monkeypatch: pytest.MonkeyPatch, kind: str, params: dict[str, object], allowed: bool
) -> None:
    monkeypatch.setattr("redflag_scanner_agent.helper_service.agent_version", lambda: "1.9.9")
    await host.ask("beacon", host.fleet.beacon(min_agent_version="1.10"))
    command = host.command(kind, params=params)
    answer = await host.give(command)
    assert answer.get("code") == (None if allowed else "agent_too_old")
    await host.ask("beacon", host.fleet.beacon(min_agent_version="1.9.9"))
    if not allowed:
        assert (await host.give(host.command(kind, params=params))).get("code") != "agent_too_old"
    assert agent_version.is_below("1.9.9", "1.10")


@pytest.mark.parametrize(
    "kind",
    ["install_updates", "reboot", "enable_heartbeat", "disable_heartbeat", "cancel", "rollback_update"],
)
def test_change_without_an_intent_is_no_command_at_all(host: Host, kind: str) -> None:
    params: dict[str, dict[str, object]] = {
        "install_updates": {**PACKAGES, "plan_digest": "sha256:" + "0" * 64},
        "rollback_update": {**PACKAGES, "plan_digest": "sha256:" + "0" * 64},
        "enable_heartbeat": {"duration_s": 60},
        "cancel": {"cmd": str(host.agent)},
    }
    given = params.get(kind, {})
    good = host.command(kind, params=given).to_bytes()
    assert Command.from_bytes(good).kind == kind
    nobody = b'"by":{"approvers":[],"intent":null}'
    start, end = good.index(b'"by":'), good.index(b',"prev"')
    with pytest.raises(SchemaRefusedError):
        Command.from_bytes(good[:start] + nobody + good[end:])
    look = host.command().to_bytes()
    start, end = look.index(b'"by":'), look.index(b',"prev"')
    asked = Command.from_bytes(look[:start] + nobody + look[end:])  # RedFlag itself may ask to look
    assert asked.by.intent is None


async def test_starts_are_told_once_an_hour_and_the_rest_counted(host: Host) -> None:
    assert host.file is not None
    start = host.clock.now()

    def told(after_s: float, boot: str = "b1", version: str = "1") -> bool:
        assert host.file is not None
        host.receipts._events.clear()  # a new process
        now = start + timedelta(seconds=after_s)
        return tell_start(host.file, host.receipts, now=now, boot_id=boot, version=version)

    assert told(0)
    assert not told(10)
    assert not told(20)
    assert told(30, boot="b2")
    assert told(40, boot="b2", version="2")
    assert not told(50, boot="b2", version="2")
    assert told(3700, boot="b2", version="2")
    assert told(60, boot="b2", version="2")  # the clock went back
    assert [event.data["left_out"] for event in events(host)] == [0, 2, 0, 1, 0]
    assert [event.severity for event in events(host)][:2] == ["info", "warning"]


async def test_scan_of_the_host_itself_and_its_specs(host: Host) -> None:
    for subsystem in ("system", "storage"):
        command = host.command(params={"subsystem": subsystem})
        await host.give(command)
        await host.work()
        assert getattr(host.bodies()[-1], "type", "") == subsystem
    specs = host.command("collect_specs")
    await host.give(specs)
    await host.work()
    assert words(host, specs)[-1] == (CommandState.DONE, Outcome.SUCCEEDED, None)
    assert host.file is not None
    kinds = [row["kind"] for row in host.file.db.execute("SELECT kind FROM pending ORDER BY id")]
    assert kinds == ["facts", "metrics"]
