"""Many hosts, restarts, cancels and retries: a whole RedFlag, an agent whose restart is a made-up one."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.directories import open_directory
from tests.support.installation import Installation

AGENT = Path(__file__).resolve().parents[1] / "support" / "agent_with_fake_manager.py"
DEADLINE_S = 60.0


def eventually(look: Callable[[], Any], what: str) -> Any:
    """Wait for something another process does."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)


@dataclass
class Host:
    """An agent with the fake manager; a restart of its machine ends its processes and changes its boot id."""

    directory: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def restarts(self) -> int:
        log = self.directory / "restarts.log"
        return log.read_text().count("\n") if log.exists() else 0

    def run(self, *arguments: str) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "HOME": str(self.directory),
            "REDFLAG_AGENT_STATE_DIR": str(self.directory),
            "REDFLAG_AGENT_FAST": "1",
        }
        with (self.directory.parent / "agent.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(AGENT), "agent", *arguments],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def start(self) -> None:
        self.process = self.run("run")

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_S)


@pytest.fixture
def place() -> Iterator[Path]:
    with open_directory("operations") as directory:
        yield directory


@pytest.mark.timeout(300)
def test_jobs_restarts_cancels_and_retries_reach_the_host_and_come_back(place: Path) -> None:
    installation = Installation(place, options=("--no-agent",))
    host = Host(place / "host")
    host.directory.mkdir()
    try:
        installation.start()
        installation.scan_only_when_asked()
        line = shlex.split(installation.json("tokens", "create")["install"])
        assert host.run(*line[1:]).wait(DEADLINE_S) == 0
        host.start()
        name = installation.json("hosts", "list")["items"][0]["hostname"]

        scan = scans_all(installation)
        retries(installation, scan)
        cancels_a_restart(installation, host, name)
        restarts(installation, host, name)
        told = [one["text"] for one in installation.json("history", name)["items"]]
        assert told[0].startswith("Restarted after 2 s, back in "), told
        assert told[0].endswith("(new kernel)")
        assert told[1:3] == ["Cancelled reboot", "Restart: cancelled"], told
    finally:
        host.stop()
        installation.kill_all()


def scans_all(installation: Installation) -> str:
    job = installation.json("scan", "--all", "--wait")
    assert (job["state"], job["commands"], job["total"]) == ("finished", {"succeeded": 1}, 1)
    (item,) = installation.json("jobs", "show", job["id"], "--hosts")["items"]
    assert (item["command_state"], item["state"]) == ("succeeded", "made")
    return str(item["command_id"])


def retries(installation: Installation, scan: str) -> None:
    again = installation.json("commands", "retry", scan, "--wait")
    assert (again["state"], again["retry_of"], again["retry_depth"]) == ("succeeded", scan, 1)
    installation.cli("commands", "retry", scan, expect=6)


def cancels_a_restart(installation: Installation, host: Host, name: str) -> None:
    asked = installation.json("reboot", name, "--yes", "--delay", "1h")
    eventually(
        lambda: installation.json("commands", "show", asked["id"])["state"] == "running",
        "the restart's delay",
    )
    cancel = installation.json("commands", "cancel", asked["id"], "--wait")
    assert cancel["state"] == "succeeded"
    installation.cli("commands", "show", asked["id"], "--wait", expect=1)  # it did not come to what was asked
    ended = installation.json("commands", "show", asked["id"])
    assert (ended["state"], ended["cancel"]["command_id"]) == ("cancelled", cancel["id"])
    installation.cli("commands", "cancel", asked["id"], expect=6)
    assert host.restarts == 0


def restarts(installation: Installation, host: Host, name: str) -> None:
    asked = installation.json("reboot", name, "--yes", "--delay", "2s", "--reason", "new kernel")
    eventually(host.ended, "the end of all that ran before the restart")
    assert host.restarts == 1
    host.start()
    ended = installation.json("commands", "show", asked["id"], "--wait")
    assert (ended["state"], ended["result"]) == ("succeeded", "succeeded"), ended
    assert host.restarts == 1
