"""States, times and sizes as people read them. Pure.

Colour is never alone: it goes with a word that says the same.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("active", "succeeded", "updated", "ok", "installed", "approved"), "green"),
    **dict.fromkeys(
        ("running", "installing", "checking_dependencies", "delivered", "cancelling"), "bright_blue"
    ),
    **dict.fromkeys(("attention", "warning", "held", "pending_dependencies", "expired"), "yellow"),
    **dict.fromkeys(("failed", "rejected", "revoked", "quarantined", "critical", "error"), "red"),
    **dict.fromkeys(("unknown", "parked"), "magenta"),
}

_STEPS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_KIB: Final = 1024
_SECOND_MS: Final = 1000

WAITS_FOR: Final[Mapping[str, str]] = {
    "requested": "asked for; waits for the dispatcher to sign it",
    "signed": "signed; waits for the broker",
    "queued": "on its way; waits for the host",
    "delivered": "the host has it",
    "running": "the host works on it",
    "cancelling": "being cancelled",
}
"""What a command that has no end yet waits for."""


def style_of(state: object) -> str:
    """Return the style that goes with a state's word; empty for a plain one."""
    return _STYLES.get(str(state), "")


def spell(state: object) -> str:
    """Return a state's name as words."""
    return str(state).replace("_", " ")


def parse_time(text: object) -> datetime | None:
    """Return a time of the API; None for none, and for what is no time with a zone."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def ago(text: object, now: datetime) -> str:
    """Return how long ago a time of the API was (or how long it is until then); `never` for none."""
    at = parse_time(text)
    if at is None:
        return "never" if text is None else str(text)
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def exact(text: object) -> str:
    """Return a time of the API to the millisecond, in UTC; `-` for none."""
    at = parse_time(text)
    if at is None:
        return "-" if text is None else str(text)
    utc = at.astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S.") + f"{utc.microsecond // 1000:03d} UTC"


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit, rounded down."""
    for unit_s, name in _STEPS:
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {name}"
    return "0 s"


def took(milliseconds: object) -> str:
    """Return a duration of the API; `-` for none."""
    if not isinstance(milliseconds, int):
        return "-"
    return f"{milliseconds} ms" if milliseconds < _SECOND_MS else f"{milliseconds / _SECOND_MS:.1f} s"


def size(count: object) -> str:
    """Return a number of bytes; `-` for none."""
    if not isinstance(count, int):
        return "-"
    amount, unit = float(count), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < _KIB:
            break
        amount, unit = amount / _KIB, bigger
    return f"{int(amount)} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def counted(count: object, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 host`, `2 hosts`; `many` is for plurals that are not made with an s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def dash(value: object) -> str:
    """Return a value, or `-` where there is none."""
    return "-" if value is None or value == "" else str(value)


def pairs(values: object) -> str:
    """Return tags as `name=value`, by name."""
    if not isinstance(values, Mapping):
        return "-"
    return dash(", ".join(f"{name}={value}" for name, value in sorted(values.items())))
