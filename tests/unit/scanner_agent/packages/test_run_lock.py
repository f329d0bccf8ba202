import os
from pathlib import Path

import pytest

from redflag_scanner_agent.packages import process, run_lock
from redflag_scanner_agent.packages.errors import LockHeldError, ProgramMissingError

SH = "/bin/sh"


async def test_no_run_is_seen_where_none_ever_was(tmp_path: Path) -> None:
    assert run_lock.earlier_run(tmp_path) is None
    assert await run_lock.wait_for_earlier_run(tmp_path / "missing", limit_s=0) is None


async def test_run_is_seen_and_named_until_it_ends(tmp_path: Path) -> None:
    lock = run_lock.take(tmp_path)
    run_lock.name_run(lock, 4711)
    assert "4711" in (run_lock.earlier_run(tmp_path) or "")
    assert "4711" in (await run_lock.wait_for_earlier_run(tmp_path, limit_s=0.3) or "")
    with pytest.raises(LockHeldError) as refused:
        await process.run_lasting([SH, "-c", "true"], env={}, timeout_s=10, directory=tmp_path)
    assert "4711" in refused.value.holder
    os.close(lock)
    assert run_lock.earlier_run(tmp_path) is None
    os.close(run_lock.take(tmp_path))


async def test_run_holds_the_lock_itself_and_lets_go_at_its_end(tmp_path: Path) -> None:
    script = f"flock -n {tmp_path}/{run_lock.LOCK_FILE} true || echo held"
    finished = await process.run_lasting(
        [SH, "-c", script], env={"PATH": "/usr/bin:/bin"}, timeout_s=10, directory=tmp_path
    )
    assert finished.stdout == "held\n"
    assert run_lock.earlier_run(tmp_path) is None


async def test_run_that_cannot_start_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissingError):
        await process.run_lasting(["/nowhere/x"], env={}, timeout_s=10, directory=tmp_path)
    assert run_lock.earlier_run(tmp_path) is None


def test_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / run_lock.LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProgramMissingError):
        run_lock.take(tmp_path)
    with pytest.raises(ProgramMissingError):
        run_lock.earlier_run(tmp_path)
