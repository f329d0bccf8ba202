"""One line for people that says what an operation did. Pure.

The line holds text that came from hosts (package names, errors); whoever shows it makes it safe for where it is
shown.
"""

from collections.abc import Mapping
from typing import Any, Final

_NAMED: Final = 3  # packages named in a line; the rest is counted
_LINE_MAX: Final = 400  # characters

_ENDS: Final = {
    "cancelled": "cancelled",
    "expired": "expired before the host took it",
    "rejected": "refused by the host",
    "parked": "given up: the host never took it",
    "unknown": "ended in a way nobody can tell",
    "failed": "failed",
}


def sentence(
    *,
    kind: str,
    state: str,
    params: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    code: str | None,
    error: str | None,
    duration_ms: int | None,
) -> str:
    """What a command that came to an end did.

    Args:
        kind: of the command.
        state: its end state.
        params: its parameters.
        summary: what ingest made of the host's report; its `text` is the line of a success.
        code: reason of a refusal or failure.
        error: the same in words.
        duration_ms: of the work on the host.
    """
    told = str((summary or {}).get("text") or "")
    if state == "succeeded":
        if kind == "install_updates" and told:
            return _cut(told)
        line = _subject(kind, params) + (f": {told}" if told else ": done")
        return _cut(line + _took(duration_ms))
    line = f"{_subject(kind, params)}: {_ENDS.get(state, state)}"
    if told:
        line += f": {told}"
    reason = error or code
    if reason and reason not in line:
        line += f" ({reason})"
    return _cut(line)


def _subject(kind: str, params: Mapping[str, Any]) -> str:
    if kind == "scan":
        subsystem = params.get("subsystem", "all")
        return "Scan" if subsystem == "all" else f"Scan of {subsystem}"
    if kind == "dry_run_update":
        return f"Plan for {_packages(params)}"
    if kind == "install_updates":
        return f"Installing {_packages(params)}"
    return kind.replace("_", " ").capitalize()


def _packages(params: Mapping[str, Any]) -> str:
    packages = params.get("packages")
    if not isinstance(packages, list) or not packages:
        return "updates"
    names = [str(one.get("name", "?")) for one in packages[:_NAMED] if isinstance(one, Mapping)]
    more = len(packages) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _took(duration_ms: int | None) -> str:
    return "" if duration_ms is None else f", {max(1, round(duration_ms / 1000))} s"


def _cut(line: str) -> str:
    first = " ".join(line.split())
    return first if len(first) <= _LINE_MAX else first[: _LINE_MAX - 3] + "..."
