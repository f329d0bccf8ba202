"""Restarting the machine, and telling the people on it: the only place of the agent that can.

What is told comes from an operator and is shown to everybody on the host: it is one cleaned line.
"""

import os
from pathlib import Path
from typing import Protocol

from redflag_ops.logging import get_logger
from redflag_scanner_agent.errors import AgentError
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.packages.process import run_parsed

SYSTEMD = Path("/run/systemd/system")
SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")
SHUTDOWN = ("/usr/sbin/shutdown", "/sbin/shutdown")
WALL = ("/usr/bin/wall",)
RESTART_TIMEOUT_S = 60.0  # seconds the program may take to take the order
NOTICE_TIMEOUT_S = 10.0  # a terminal that takes nothing must not hold the restart up
NOTICE_MAX_CHARS = 400

log = get_logger()


class RestartRefusedError(AgentError):
    """The host did not take the order to restart; nothing was done."""


class Restart(Protocol):
    """What can restart a machine."""

    async def notice(self, text: str) -> None:
        """Tell the people on the host, where that is possible; never raises for it."""
        ...

    async def restart(self) -> None:
        """Order the restart.

        Raises:
            RestartRefusedError: it was not taken.
        """
        ...


class HostRestart:
    """The real one: `systemctl reboot`, or `shutdown -r now` without systemd; `wall` for the people."""

    async def notice(self, text: str) -> None:
        """Tell everybody who is logged in."""
        wall = _first(WALL)
        if wall is None:
            return
        try:
            await run_parsed([wall, text[:NOTICE_MAX_CHARS]], env=_environment(), timeout_s=NOTICE_TIMEOUT_S)
        except PackageManagerError as error:
            log.warning("restart.notice_failed", code=error.code, detail=error.detail)

    async def restart(self) -> None:
        """Order the restart."""
        systemctl, shutdown = _first(SYSTEMCTL), _first(SHUTDOWN)
        if systemctl is not None and _runs_systemd():
            command = [systemctl, "--no-ask-password", "reboot"]
        elif shutdown is not None:
            command = [shutdown, "-r", "now"]
        else:
            raise RestartRefusedError("reboot_not_done", "this host has neither systemctl nor shutdown")
        try:
            ended = await run_parsed(command, env=_environment(), timeout_s=RESTART_TIMEOUT_S)
        except PackageManagerError as error:
            raise RestartRefusedError("reboot_not_done", error.detail) from None
        if ended.exit_code != 0:
            said = " ".join(ended.stderr.split())[:500]
            raise RestartRefusedError(
                "reboot_not_done", f"{command[0]} ended with {ended.exit_code}: {said or 'no reason given'}"
            )


class NoRestart:
    """For an agent over a private root: it must never restart the machine it happens to run on."""

    async def notice(self, text: str) -> None:
        """Tell nobody."""

    async def restart(self) -> None:
        """Refuse."""
        raise RestartRefusedError("reboot_not_done", "an agent over a private root restarts no machine")


def _runs_systemd() -> bool:
    return SYSTEMD.is_dir()  # as sd_booted(3) tells


def _first(candidates: tuple[str, ...]) -> str | None:
    return next((one for one in candidates if os.access(one, os.X_OK)), None)


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
