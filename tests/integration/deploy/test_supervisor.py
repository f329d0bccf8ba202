import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from redflag.embedded.launch import Launch
from redflag.embedded.processes import ProcessIdentity, end_processes
from redflag.up.errors import ProgramFailedError
from redflag.up.leftovers import end_leftovers, find_marked, mark
from redflag.up.reporter import LogFormat, Reporter
from redflag.up.restart_policy import QUICK_DEATHS
from redflag.up.state import StateFile
from redflag.up.supervisor import Program, Supervisor

# Says it is ready by making a file, then waits for a signal.
SERVER = """
import os, pathlib, signal, sys
print('{"event": "server.started", "level": "info"}', flush=True)
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1] + ".stopped").touch(), os._exit(0)))
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
while True:
    signal.pause()
"""
STUBBORN = SERVER.replace(
    "signal.signal(signal.SIGTERM, ", "signal.signal(signal.SIGTERM, signal.SIG_IGN) if 1 else ("
)
CRASHING = "import sys; print('the disk is gone', file=sys.stderr); sys.exit(1)"
MISCONFIGURED = "import sys; print('redflag x: REDFLAG_X: missing', file=sys.stderr); sys.exit(2)"
# Leaves a grandchild that keeps the output open, and waits.
WITH_HELPER = (
    """
import subprocess, sys
helper = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
"""
    + SERVER
)


class Bed:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.output = io.StringIO()
        self.reporter = Reporter(self.output, LogFormat.CONSOLE, now=lambda: datetime.now(UTC))
        self.state = StateFile(base / "up.json")
        self.restarts = asyncio.Event()
        (base / "logs").mkdir()
        self.supervisor = Supervisor(
            self.state, self.reporter, base / "logs", jitter=lambda: 0.0, on_restart=self.restarts.set
        )

    def ready_file(self, name: str) -> Path:
        return self.base / f"{name}.ready"

    def program(self, name: str, code: str, *, grace_s: float = 5.0, deadline_s: float = 20.0) -> Program:
        ready_file = self.ready_file(name)

        async def ready(pid: int) -> str | None:
            told = ready_file.read_text() if ready_file.exists() else ""
            return None if told == str(pid) else "no word of it"

        environment = {"PATH": os.environ["PATH"], **mark(self.base, name)}
        return Program(
            name=name,
            title=name,
            launch=lambda: Launch((sys.executable, "-c", code, str(ready_file)), environment),
            ready=ready,
            ready_deadline_s=deadline_s,
            stop_grace_s=grace_s,
        )

    async def stop(self) -> list[str]:
        return await self.supervisor.stop(asyncio.Event())


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    bed = Bed(tmp_path)
    yield bed
    await bed.stop()
    end_leftovers(tmp_path)


async def within(seconds: float, awaitable: Awaitable[object]) -> None:
    async with asyncio.timeout(seconds):
        await awaitable


async def test_program_is_started_recorded_and_stopped(bed: Bed) -> None:
    await bed.supervisor.start(bed.program("one", SERVER))
    pid = bed.supervisor.pids()["one"]
    recorded = StateFile(bed.base / "up.json").load().children["one"]
    assert recorded.identity() == ProcessIdentity.of(pid)
    assert os.getsid(pid) == pid
    assert await bed.stop() == []
    assert ProcessIdentity.of(pid) is None
    assert bed.ready_file("one").with_suffix(".ready.stopped").exists()
    assert StateFile(bed.base / "up.json").load().children == {}
    assert json.loads((bed.base / "logs" / "one.log").read_text())["event"] == "server.started"


async def test_program_killed_is_started_again_under_a_new_id(bed: Bed) -> None:
    await bed.supervisor.start(bed.program("one", SERVER))
    first = bed.supervisor.pids()["one"]
    os.kill(first, signal.SIGKILL)
    await within(20, bed.restarts.wait())
    second = bed.supervisor.pids()["one"]
    assert second != first
    assert StateFile(bed.base / "up.json").load().children["one"].pid == second
    assert "one was ended by SIGKILL; starting it again" in bed.output.getvalue()


async def test_program_that_keeps_ending_fails_with_its_last_words(bed: Bed) -> None:
    with pytest.raises(ProgramFailedError) as raised:
        await bed.supervisor.start(bed.program("one", CRASHING))
    assert raised.value.name == "one"
    assert raised.value.last_lines == ("the disk is gone",) * QUICK_DEATHS
    with pytest.raises(ProgramFailedError):
        await bed.supervisor.failure()


async def test_last_words_of_a_crash_hold_the_error_and_not_its_stack(bed: Bed) -> None:
    with pytest.raises(ProgramFailedError) as raised:
        await bed.supervisor.start(bed.program("one", "raise ValueError('no such luck')"))
    assert set(raised.value.last_lines) == {"ValueError: no such luck"}
    assert "Traceback" in (bed.base / "logs" / "one.log").read_text()


async def test_program_that_is_misconfigured_is_not_started_again(bed: Bed) -> None:
    with pytest.raises(ProgramFailedError) as raised:
        await bed.supervisor.start(bed.program("one", MISCONFIGURED))
    assert raised.value.last_lines == ("redflag x: REDFLAG_X: missing",)
    assert "starting it again" not in bed.output.getvalue()


async def test_program_that_cannot_be_executed_fails_with_the_reason(bed: Bed) -> None:
    program = bed.program("one", SERVER)
    broken = Program(
        name="one",
        title="one",
        launch=lambda: Launch((str(bed.base / "not-there"),), {}),
        ready=program.ready,
        ready_deadline_s=20,
    )
    with pytest.raises(ProgramFailedError, match="not-there"):
        await bed.supervisor.start(broken)


async def test_program_that_is_never_ready_fails_at_its_deadline(bed: Bed) -> None:
    with pytest.raises(ProgramFailedError, match=r"not ready after 0 s \(no word of it\)"):
        await bed.supervisor.start(bed.program("one", "import signal; signal.pause()", deadline_s=0.3))


async def test_stop_goes_backwards_and_kills_what_does_not_end(bed: Bed) -> None:
    ended: list[str] = []
    for name, code in (("first", SERVER), ("second", STUBBORN), ("third", SERVER)):
        await bed.supervisor.start(bed.program(name, code, grace_s=0.3 if name == "second" else 5.0))
    watchers = [
        asyncio.create_task(_note_end(name, pid, ended.append)) for name, pid in bed.supervisor.pids().items()
    ]
    assert await bed.stop() == ["second"]
    await within(5, asyncio.gather(*watchers))
    assert ended == ["third", "second", "first"]


async def _note_end(name: str, pid: int, note: Callable[[str], None]) -> None:
    handle = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    await ended.wait()
    loop.remove_reader(handle)
    os.close(handle)
    note(name)


async def test_hurry_ends_a_stop_at_once(bed: Bed) -> None:
    await bed.supervisor.start(bed.program("one", STUBBORN, grace_s=60))
    hurry = asyncio.Event()
    stop = asyncio.create_task(bed.supervisor.stop(hurry))
    hurry.set()
    await within(5, stop)
    assert stop.result() == ["one"]


async def test_grandchild_that_keeps_the_output_open_does_not_hide_the_end(bed: Bed) -> None:
    await bed.supervisor.start(bed.program("one", WITH_HELPER))
    os.kill(bed.supervisor.pids()["one"], signal.SIGKILL)
    await within(20, bed.restarts.wait())


async def test_leftovers_are_ended_by_their_mark_and_nobody_else(bed: Bed, tmp_path: Path) -> None:
    await bed.supervisor.start(bed.program("one", WITH_HELPER))
    await bed.supervisor.start(bed.program("two", SERVER))
    two = bed.supervisor.pids()["two"]
    one = bed.supervisor.pids()["one"]
    found = {process.pid for process in find_marked(tmp_path, "one")}
    assert one in found
    assert len(found) == 2
    assert two not in found
    assert find_marked(tmp_path / "elsewhere") == []
    assert await bed.stop() == []
    helper = ProcessIdentity.of((found - {one}).pop())
    assert helper is not None
    assert [pid for _, pid in end_leftovers(tmp_path)] == [helper.pid]
    assert ProcessIdentity.of(helper.pid) is None


async def test_end_processes_kills_what_ignores_the_first_signal(bed: Bed) -> None:
    await bed.supervisor.start(bed.program("one", STUBBORN))
    identity = ProcessIdentity.of(bed.supervisor.pids()["one"])
    assert identity is not None
    left = await asyncio.to_thread(end_processes, [identity], [(signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)])
    assert left == []


async def test_program_is_ready_only_after_it_has_said_so(bed: Bed) -> None:
    program = bed.program("one", SERVER, deadline_s=1.0)
    await bed.supervisor.start(replace(program, says=frozenset({"server.started"})))
    silent = replace(bed.program("two", SERVER, deadline_s=1.0), says=frozenset({"never.said"}))
    with pytest.raises(ProgramFailedError, match=r"it has not said never\.said yet"):
        await bed.supervisor.start(silent)
