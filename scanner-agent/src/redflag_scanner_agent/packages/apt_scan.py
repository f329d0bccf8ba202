"""Scanning with apt: refresh the lists if asked and allowed, survey, and say how fresh and whole the answer is.

A mirror that does not answer, a list that another program locks, or a refresh without the rights for it is a
problem named in the inventory; the scan goes on with the lists as they are.
"""

import contextlib
from datetime import datetime
from pathlib import Path

from redflag_scanner_agent.packages import apt_interrupted
from redflag_scanner_agent.packages.apt_lock import lock_holder
from redflag_scanner_agent.packages.apt_parse import update_problems
from redflag_scanner_agent.packages.apt_run import (
    REFRESH_OPTIONS,
    REFRESH_TIMEOUT_S,
    AptRoot,
    AptRunner,
)
from redflag_scanner_agent.packages.apt_survey import MANAGER, survey
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.packages.output import one_line
from redflag_wire.clock import Clock
from redflag_wire.report_bodies import Inventory

PROBLEMS_MAX = 50  # problems in one inventory
PROBLEM_MAX_BYTES = 600  # bytes of one of them
_STAMP = "apt-refreshed"
# Written by the distributions' own timers after a successful refresh.
_OTHER_STAMPS = ("var/lib/apt/periodic/update-success-stamp", "var/lib/apt/periodic/update-stamp")
_REBOOT_FILES = ("var/run/reboot-required", "run/reboot-required")


async def scan(
    runner: AptRunner, *, clock: Clock, work_dir: Path, refresh: bool, may_refresh: bool
) -> Inventory:
    """One inventory.

    Args:
        runner: where apt's programs run.
        clock: host time for `scanned_at` and the age of the lists.
        work_dir: where the time of the last successful refresh is kept.
        refresh: whether fresh lists were asked for.
        may_refresh: whether this process has the rights for it.

    Raises:
        PackageManagerError: apt or dpkg cannot be asked at all.
    """
    root = await runner.root()
    problems: list[str] = []
    if refresh and may_refresh:
        problems += await _refresh(runner, work_dir / _STAMP)
    elif refresh:
        problems.append("refresh_not_permitted: the lists are as another program left them")
    found = await survey(runner, reasons=True)
    problems += found.problems
    if apt_interrupted.is_interrupted(root.admin_directory) and lock_holder(root.admin_directory) is None:
        problems.insert(0, f"dpkg_interrupted: {apt_interrupted.refusal(root.admin_directory).detail}")
    if len(problems) > PROBLEMS_MAX:
        problems = [*problems[: PROBLEMS_MAX - 1], f"and {len(problems) - PROBLEMS_MAX + 1} more problems"]
    now = clock.now()
    return Inventory(
        manager=MANAGER,
        scanned_at=now,
        source_age_s=source_age_s(root, work_dir / _STAMP, now),
        reboot_required=reboot_required(root),
        updates=found.updates,
        problems=[one_line(problem, PROBLEM_MAX_BYTES) for problem in problems],
    )


async def _refresh(runner: AptRunner, stamp: Path) -> list[str]:
    try:
        finished = await runner.get(*REFRESH_OPTIONS, "update", timeout_s=REFRESH_TIMEOUT_S)
    except PackageManagerError as error:
        return [str(error)]
    problems = update_problems(finished.stderr)
    if finished.exit_code != 0 and not problems:
        problems.append(f"refresh: apt-get update ended with {finished.exit_code}")
    if not problems:
        _leave(stamp)
    return problems


def _leave(stamp: Path) -> None:
    with contextlib.suppress(OSError):  # then the age is taken from apt's own files
        stamp.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp.touch()


def reboot_required(root: AptRoot) -> bool:
    """Whether a package has asked for a restart of the machine."""
    return any((root.directory / name).exists() for name in _REBOOT_FILES)


def source_age_s(root: AptRoot, stamp: Path, now: datetime) -> int | None:
    """Seconds since the lists were last known to be fresh, or None when there are no lists.

    apt gives list files the mirror's time, so the newest of several traces of a successful refresh counts.
    """
    try:
        if not any(path.is_file() and path.name != "lock" for path in root.lists.iterdir()):
            return None
    except OSError:
        return None
    traces = [root.lists, stamp, *(root.directory / name for name in _OTHER_STAMPS)]
    times = []
    for trace in traces:
        with contextlib.suppress(OSError):
            times.append(trace.stat().st_mtime)
    return max(0, int(now.timestamp() - max(times))) if times else None
