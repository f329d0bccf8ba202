"""The agent's two programs with the fake package manager in the helper: run as a script by integration tests.

The first argument says which of the two this is. The manager's installed versions are read from the effect log, so
that a helper started anew sees what an earlier one did.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

# The helper gets a clean environment, as in life, so it must find the tests by itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from redflag_scanner_agent import helper
from redflag_scanner_agent.main import main
from redflag_scanner_agent.packages.base import PackageManager
from redflag_scanner_agent.settings import AgentSettings
from tests.support.fake_manager import FakeManager


def managers(settings: AgentSettings, can_install: bool) -> Mapping[str, PackageManager]:
    log = settings.state_dir / "helper" / "effects.jsonl"
    manager = FakeManager(effects=log, can_install=can_install)
    if log.exists():
        for line in log.read_text().splitlines():
            effect = json.loads(line)
            manager.installed[effect["package"]] = effect["version"]
    crash_marker = settings.state_dir / "helper" / "crash-once"
    if crash_marker.exists():

        def crash() -> None:
            crash_marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

        manager.crash = crash
    return {manager.name: manager}


class FakeRestart:
    """A restart is one line in the effect log of restarts, and the boot id is made of their number."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def boot_id(self) -> str:
        restarts = self.log.read_text().count("\n") if self.log.exists() else 0
        return f"00000000-0000-0000-0000-{restarts:012d}"

    async def notice(self, text: str) -> None:
        return

    async def restart(self) -> None:
        with self.log.open("a") as log:
            log.write("restart\n")
        # Everything that runs ends with the machine.
        os.kill(os.getpid(), signal.SIGKILL)


def machine() -> helper.Machine:
    restart = FakeRestart(Path(os.environ["REDFLAG_AGENT_STATE_DIR"]) / "restarts.log")
    return helper.Machine(managers, restart, restart.boot_id)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "helper":
        sys.exit(helper.main(arguments, machine()))
    sys.exit(main(arguments, [sys.executable, str(Path(__file__).resolve()), "helper"]))
