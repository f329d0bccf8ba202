"""Times on the command line: how long ago, or a time as RFC 3339 writes it. Pure."""

from datetime import UTC, datetime, timedelta

from redflag.cli.options import parse_duration
from redflag.cli.problems import UsageRefusedError


def time_text(text: str | None, now: datetime, option: str) -> str | None:
    """Return the time of `90m`, `24h`, `7d` before `now`, or of `2026-05-01` or `2026-05-01T12:00:00Z`; None stays.

    A time without a zone is UTC.

    Raises:
        UsageRefusedError: it is none of these.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return (now - timedelta(seconds=parse_duration(text, option))).isoformat()
        except (OverflowError, UsageRefusedError):
            raise UsageRefusedError(
                f"{option} {text}: no time",
                ["write for example 90m, 24h, 7d, 2026-05-01 or 2026-05-01T12:00:00Z"],
            ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).isoformat()
