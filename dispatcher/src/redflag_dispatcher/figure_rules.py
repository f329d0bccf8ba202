"""What a host's figures mean: which time they are of, which volume is fullest, what people should be told. Pure.

Figures are a host's own word (docs/protocol.md 6); they are believed as such and nothing rests on them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from redflag_store.command_states import ServerState
from redflag_store.states import Severity
from redflag_wire.system_bodies import Storage, Volume

LATE_MAX: Final = timedelta(hours=24)  # figures that waited longer on the host count for when they came
AHEAD_MAX: Final = timedelta(minutes=5)  # by which a host's clock may be ahead and still be believed
NAMED_MAX: Final = 20  # problems or disks named in one event

_NOT_FILLING: Final = frozenset(
    {"squashfs", "iso9660", "tmpfs", "devtmpfs", "ramfs", "overlay", "erofs", "cramfs"}
)
"""File systems that are full by nature, or in memory, or another one's space seen again."""

SCANNER: Final = "scanner"
FAILED: Final = frozenset({ServerState.FAILED, ServerState.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Told:
    """Something people should know about a host."""

    severity: Severity
    component: str
    code: str
    message: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fullest:
    """The volume with the least room; `percent` as df shows it, rounded up."""

    mount: str
    percent: int


def believable(collected: datetime, received: datetime) -> datetime:
    """The minute that figures are kept under: the host's where it can be right, else the server's."""
    known = collected if received - LATE_MAX <= collected <= received + AHEAD_MAX else received
    return min(known, received).replace(second=0, microsecond=0)


def fullest(volumes: Iterable[Volume]) -> Fullest | None:
    """The fullest volume that can fill up; None when there is none."""
    found: Fullest | None = None
    for volume in volumes:
        room = volume.used_bytes + volume.available_bytes
        if volume.read_only or volume.fstype in _NOT_FILLING or room == 0:
            continue
        percent = min(100, -(-100 * volume.used_bytes // room))
        if found is None or percent > found.percent:
            found = Fullest(volume.mount, percent)
    return found


def of_problems(what: str, problems: Sequence[str]) -> list[Told]:
    """What hindered a look of the host: one event, which names the first problem."""
    if not problems:
        return []
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    data = {"subsystem": what, "count": len(problems), "problems": list(problems[:NAMED_MAX])}
    return [Told(Severity.WARNING, SCANNER, "scan_problems", f"scan of {what}: {problems[0]}{more}", data)]


def of_storage(storage: Storage) -> list[Told]:
    """Problems of the look, and disks that say themselves that they fail."""
    failing = [disk.device for disk in storage.disks if disk.health == "failed"]
    told = of_problems("storage", storage.problems)
    if failing:
        message = f"{len(failing)} disks say that they are failing: {', '.join(failing[:NAMED_MAX])}"
        told.append(Told(Severity.ERROR, SCANNER, "disk_failing", message, {"disks": failing[:NAMED_MAX]}))
    return told


def of_failed_scan(subsystem: str, state: str, code: str | None, error: str | None) -> Told | None:
    """A scan that was begun and came to nothing; None for every other end."""
    if state not in FAILED:
        return None
    reason = f": {code}" if code else ""
    data = {
        "subsystem": subsystem,
        "state": state,
        "code": code,
        "error": None if error is None else error[:500],
    }
    return Told(
        Severity.WARNING, SCANNER, "scan_failed", f"a scan of {subsystem} ended {state}{reason}", data
    )
