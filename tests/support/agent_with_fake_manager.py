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


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "helper":
        sys.exit(helper.main(arguments, managers))
    sys.exit(main(arguments, [sys.executable, str(Path(__file__).resolve()), "helper"]))
