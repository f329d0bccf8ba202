"""One line for people that says what an operation did. Pure.

The line holds text that came from hosts (package names, errors); whoever shows it makes it safe for where it is
shown.
"""

from collections.abc import Mapping
from typing import Any, Final

from redflag_dashboard.code_words import in_words

_NAMED: Final = 3  # packages named in a line; the rest is counted
_LINE_MAX: Final = 400  # characters
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_SECOND_MS: Final = 1000

_ENDS: Final = {
    "cancelled": "cancelled",
    "expired": "expired before the host took it",
    "rejected": "refused by the host",
    "parked": "given up: the host never took it",
    "unknown": "ended in a way nobody can tell",
    "failed": "failed",
}
_ENDED: Final = {
    "succeeded": "succeeded already",
    "failed": "failed already",
    "cancelled": "was cancelled already",
    "expired": "expired before the host took it",
    "rejected": "was refused by the host",
    "parked": "was given up: the host never took it",
    "unknown": "ended in a way nobody can tell",
}
_SUBJECTS: Final = {
    "collect_specs": "Collecting facts",
    "reboot": "Restart",
    "disable_heartbeat": "End of fast mode",
}
_WHOLE_LINES: Final = frozenset({"install_updates", "rollback_update"})
"""Kinds whose summary is a whole line already."""


def sentence(
    *,
    kind: str,
    state: str,
    params: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    code: str | None,
    error: str | None,
    duration_ms: int | None,
    target_kind: str | None = None,
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
        target_kind: of the command that a cancel was for; None when it is not known.
    """
    told = str((summary or {}).get("text") or "")
    if state == "succeeded":
        if kind in _WHOLE_LINES and told:
            return _cut(told)
        done = _done(kind, params, duration_ms, target_kind)
        if done is not None:
            return _cut(done + (f": {told}" if told else ""))
        line = subject(kind, params, target_kind) + (f": {told}" if told else ": done")
        return _cut(line + _took(duration_ms))
    line = f"{subject(kind, params, target_kind)}: {_ENDS.get(state, state)}"
    if told:
        line += f": {told}"
    reason = error or (None if code == state else in_words(code))
    if reason and reason not in line:
        line += f" ({reason})"
    return _cut(line)


def ended_as(state: str) -> str:
    """How a command ended, to stand after its name: `succeeded`, `was cancelled`, `expired before ...`."""
    return _ENDED.get(state) or f"ended as {state}"


def subject(kind: str, params: Mapping[str, Any], target_kind: str | None = None) -> str:
    """What a command is about, in a few words."""
    match kind:
        case "scan":
            subsystem = params.get("subsystem", "all")
            return "Scan" if subsystem == "all" else f"Scan of {subsystem}"
        case "dry_run_update":
            return f"Plan for {_packages(params)}"
        case "install_updates":
            return f"Installing {_packages(params)}"
        case "rollback_update":
            return f"Going back to {_packages(params, versions=True)}"
        case "update_agent":
            return f"Agent update to {params.get('version', '?')}"
        case "enable_heartbeat":
            return f"Fast mode {_until(params)}"
        case "cancel":
            what = target_kind.replace("_", " ") if target_kind else f"command {params.get('cmd', '?')}"
            return f"Cancelling of {what}"
        case _:
            return _SUBJECTS.get(kind) or kind.replace("_", " ").capitalize()


def _done(
    kind: str, params: Mapping[str, Any], duration_ms: int | None, target_kind: str | None
) -> str | None:
    """The line of a success whose own words say more than its subject and `done`; None for other kinds."""
    match kind:
        case "reboot":
            return _restarted(params, duration_ms)
        case "cancel":
            return subject(kind, params, target_kind).replace("Cancelling of", "Cancelled", 1)
        case "enable_heartbeat":
            return subject(kind, params)
        case "disable_heartbeat":
            return "Fast mode ended"
        case _:
            return None


def _restarted(params: Mapping[str, Any], duration_ms: int | None) -> str:
    """`Restarted after 1 min, back in 38 s (new kernel)`: the host's work is its delay and the restart."""
    delay_s = params.get("delay_s")
    delay_s = delay_s if isinstance(delay_s, int) and not isinstance(delay_s, bool) else 0
    line = "Restarted" + (f" after {_span(delay_s)}" if delay_s else " at once")
    if duration_ms is not None and duration_ms > delay_s * _SECOND_MS:
        line += f", back in {_span(max(1, round(duration_ms / _SECOND_MS) - delay_s))}"
    reason = params.get("reason")
    return line + (f" ({reason})" if reason else "")


def _until(params: Mapping[str, Any]) -> str:
    seconds = params.get("duration_s")
    return f"for {_span(seconds)}" if isinstance(seconds, int) else "until it is stopped"


def _span(seconds: int) -> str:
    """A length of time, exactly, in at most two units: `90 s` is `1 min 30 s`."""
    for unit_s, name, smaller_s, smaller in ((_HOUR_S, "h", _MINUTE_S, "min"), (_MINUTE_S, "min", 1, "s")):
        if seconds >= unit_s:
            rest = seconds % unit_s // smaller_s
            return f"{seconds // unit_s} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def _packages(params: Mapping[str, Any], *, versions: bool = False) -> str:
    packages = params.get("packages")
    if not isinstance(packages, list) or not packages:
        return {"security": "security updates", "full": "a full upgrade"}.get(
            str(params.get("mode")), "updates"
        )
    back = versions or params.get("mode") == "rollback"
    names = [
        str(one.get("name", "?")) + (f" {one['version']}" if back and one.get("version") else "")
        for one in packages[:_NAMED]
        if isinstance(one, Mapping)
    ]
    more = len(packages) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _took(duration_ms: int | None) -> str:
    return "" if duration_ms is None else f", {max(1, round(duration_ms / _SECOND_MS))} s"


def _cut(line: str) -> str:
    first = " ".join(line.split())
    return first if len(first) <= _LINE_MAX else first[: _LINE_MAX - 3] + "..."
