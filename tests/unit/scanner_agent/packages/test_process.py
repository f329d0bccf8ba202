import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from redflag_scanner_agent.packages import process
from redflag_scanner_agent.packages.errors import (
    OutputRefusedError,
    ProgramMissingError,
    ProgramTimeoutError,
)

SH = "/bin/sh"


async def test_program_sees_only_the_given_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDFLAG_SECRET", "canary")
    finished = await process.run_parsed(["/usr/bin/env"], env={"ONE": "1"}, timeout_s=10)
    assert finished.stdout == "ONE=1\n"


async def test_program_runs_in_root_with_empty_stdin_and_own_session() -> None:
    script = "pwd; cat; ps -o sid= -p $$ | tr -d ' '; echo $$"
    finished = await process.run_parsed([SH, "-c", script], env={"PATH": "/usr/bin:/bin"}, timeout_s=10)
    where, session, number = finished.stdout.split("\n")[:3]
    assert where == "/"
    assert session == number


async def test_program_without_absolute_path_is_refused() -> None:
    with pytest.raises(ProgramMissingError):
        await process.run_parsed(["sh", "-c", "true"], env={}, timeout_s=10)


async def test_program_that_is_missing_is_one_error_of_the_family() -> None:
    with pytest.raises(ProgramMissingError):
        await process.run_parsed(["/nonexistent/apt-get"], env={}, timeout_s=10)


async def test_program_over_time_is_ended_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "child"
    script = f"sleep 60 & echo $! > {note}; wait"
    started = time.monotonic()
    with pytest.raises(ProgramTimeoutError):
        await process.run_parsed([SH, "-c", script], env={"PATH": "/usr/bin:/bin"}, timeout_s=0.3)
    assert time.monotonic() - started < 5
    assert await _gone(int(note.read_text()))


async def test_program_that_ignores_the_polite_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    script = "trap '' TERM; while :; do sleep 0.05; done"
    with pytest.raises(ProgramTimeoutError):
        await process.run_parsed([SH, "-c", script], env={"PATH": "/usr/bin:/bin"}, timeout_s=0.2)


async def test_program_with_too_much_output_is_refused() -> None:
    with pytest.raises(OutputRefusedError):
        await process.run_parsed([SH, "-c", "printf '%01000d' 1"], env={}, timeout_s=10, limit=999)


async def test_program_lasting_returns_both_streams(tmp_path: Path) -> None:
    finished = await process.run_lasting(
        [SH, "-c", "echo out; echo err >&2; exit 3"], env={}, timeout_s=10, directory=tmp_path / "work"
    )
    assert (finished.exit_code, finished.stdout, finished.stderr) == (3, "out\n", "err\n")
    assert not finished.timed_out


async def test_program_lasting_over_time_is_told_not_raised(tmp_path: Path) -> None:
    finished = await process.run_lasting(
        [SH, "-c", "echo begun; sleep 60"], env={"PATH": "/usr/bin:/bin"}, timeout_s=0.3, directory=tmp_path
    )
    assert finished.timed_out
    assert finished.exit_code < 0
    assert finished.stdout == "begun\n"


async def test_program_lasting_survives_cancellation(tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    script = f"echo $$ > {begun}; sleep 0.4; echo still writing; echo done > {end}"
    task = asyncio.create_task(
        process.run_lasting(
            [SH, "-c", script], env={"PATH": "/usr/bin:/bin"}, timeout_s=10, directory=tmp_path
        )
    )
    await _until(begun.exists)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not end.exists()
    await _until(end.exists)
    await _gone(int(begun.read_text()))


async def test_program_lasting_refuses_a_planted_link_target(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep")
    (tmp_path / "install.stdout").symlink_to(victim)
    await process.run_lasting([SH, "-c", "echo out"], env={}, timeout_s=10, directory=tmp_path)
    assert victim.read_text() == "keep"


async def test_program_lasting_without_a_writable_directory_is_an_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ProgramMissingError):
        await process.run_lasting([SH, "-c", "true"], env={}, timeout_s=10, directory=blocker / "work")


async def test_program_lasting_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FILE_MAX_BYTES", 4096)
    monkeypatch.setattr(process, "KEEP_BYTES", 1024)
    script = "i=0; while [ $i -lt 100 ]; do printf '%01000d\\n' 1; i=$((i+1)); sleep 0.005; done; echo last"
    finished = await process.run_lasting(
        [SH, "-c", script], env={"PATH": "/usr/bin:/bin"}, timeout_s=20, directory=tmp_path
    )
    assert (tmp_path / "install.stdout").stat().st_size < 60_000
    assert finished.stdout.endswith("last\n")


async def _until(condition: object, limit_s: float = 10) -> None:
    assert callable(condition)
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - another process's file has no event
            await asyncio.sleep(0.01)


async def _gone(number: int) -> bool:
    def is_gone() -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)
        try:
            return Path(f"/proc/{number}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    await _until(is_gone)
    return True
