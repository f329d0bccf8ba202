"""How states, times and sizes are written for people. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from redflag.cli.terminal import line

STYLES: Final[Mapping[str, str]] = {
    # Colour only supports the word, it never stands alone.
    "active": "green", "succeeded": "green", "updated": "green", "approved": "cyan", "ok": "green",
    "requested": "dim", "signed": "dim", "queued": "dim", "pending": "", "delivered": "blue",
    "running": "blue", "installing": "blue", "checking_dependencies": "blue",
    "cancelling": "yellow", "held": "yellow", "attention": "yellow", "warning": "yellow", "quarantined": "yellow",
    "failed": "red", "rejected": "red", "expired": "red", "parked": "red", "error": "red", "critical": "red",
    "revoked": "red", "unknown": "magenta",
}  # fmt: skip
"""State -> rich style."""

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def parse_time(text: str | None) -> datetime | None:
    """A time of the API; None for none, or for one that cannot be read."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ago(text: str | None, now: datetime) -> str:
    """How long ago, in one unit: `12 min ago`; `in 3 h` for what is to come; `never` for none."""
    at = parse_time(text)
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    words = span(abs(seconds))
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def span(seconds: float) -> str:
    """A duration in one unit."""
    if seconds < _MINUTE:
        return f"{int(seconds)} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min"
    if seconds < 2 * _DAY:
        return f"{int(seconds // _HOUR)} h"
    return f"{int(seconds // _DAY)} d"


def clock_time(text: str | None) -> str:
    """Date and time of this machine's zone, to the second."""
    at = parse_time(text)
    return "-" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: int | None) -> str:
    """Bytes in the unit that suits."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:  # noqa: PLR2004 - what binary units step by
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def state(text: object) -> str:
    """A state as words."""
    return line(text).replace("_", " ")


def version_step(old: object, new: object) -> str:
    """`1.0 -> 2.0`, or what there is of it."""
    if old is None:
        return f"new {line(new)}"
    if new is None:
        return f"{line(old)} removed"
    return f"{line(old)} -> {line(new)}"


def host_os(host: Mapping[str, Any]) -> str:
    """The operating system of a host."""
    words = [line(host[key]) for key in ("os_name", "os_version") if host.get(key)]
    return " ".join(words) or "-"
