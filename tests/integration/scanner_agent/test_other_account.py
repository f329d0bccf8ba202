"""An enrolled state directory seen from an account that may not read it: a clear line, never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.directories import open_directory

NOBODY = 65534
# The account may not be able to start this interpreter, so the program changes its account once all is imported.
AS_NOBODY = """
import os, sys
import encodings.idna, sqlite3
from redflag_scanner_agent import local_view, main
from tests.support.fake_manager import FakeManager
local_view.available_managers = lambda **_: {"fake": FakeManager()}
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main.main(sys.argv[1:]))
"""
REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root only can become another account")


@pytest.fixture(params=["closed above", "closed below", "open directories, closed files"])
def state(request: pytest.FixtureRequest) -> Iterator[Path]:
    with open_directory("agent") as directory:
        state = directory / "agent"
        for path in (state, state / "net", state / "helper", state / "helper" / "packages"):
            path.mkdir()
        for file in (state / "net" / "identity.json", state / "helper" / "journal.db"):
            file.write_text("{}")
            file.chmod(0o600)
        if request.param == "closed above":
            state.chmod(0o700)
        elif request.param == "closed below":
            (state / "net").chmod(0o700)
            (state / "helper").chmod(0o700)
        yield state


def run(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *arguments],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "REDFLAG_AGENT_STATE_DIR": str(state),
            "REDFLAG_AGENT_SERVER": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_status_says_that_it_may_not_know(state: Path) -> None:
    done = run(state, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"not known: {state} belongs to another account" in done.stdout
    assert json.loads(run(state, "status", "--format", "json").stdout)["enrolled"] is None


@pytest.mark.parametrize("command", ["list-updates", "scan"])
def test_updates_are_shown_all_the_same(state: Path, command: str) -> None:
    done = run(state, command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 updates available" in done.stdout


def test_run_is_one_line(state: Path) -> None:
    done = run(state, "run")
    assert done.returncode in {1, 2}
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("redflag-agent: ")
