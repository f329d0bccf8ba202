"""Subsystems and their values as people read them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from redflag.cli.output import Styled

FIELDS: Final = (
    "enabled",
    "auto_run",
    "interval_s",
    "timeout_s",
    "breaker_failures",
    "breaker_window_s",
    "breaker_open_s",
    "breaker_half_open",
)
"""The API's names of what can be set."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def every(seconds: object) -> str:
    """Return a length of time in the largest unit that holds it exactly; `-` for none."""
    if not isinstance(seconds, int):
        return "-"
    for unit_s, name in _UNITS[1:]:
        if seconds % unit_s == 0:
            return f"{seconds // unit_s} {name}"
    return f"{seconds} s"


def runs_cell(values: Mapping[str, Any]) -> Styled:
    """Return whether a subsystem runs: by itself, only when asked, or not at all."""
    if not values["enabled"]:
        return Styled("off", "yellow")
    return Styled("by itself", "green") if values["auto_run"] else Styled("when asked", "yellow")


def source_words(sources: Mapping[str, str]) -> str:
    """Return where the values come from that decide whether and how often it runs, each source once."""
    named = [sources[field] for field in ("enabled", "auto_run", "interval_s")]
    found = [one for one in dict.fromkeys(named) if one != "built-in"]
    return ", ".join(one.replace("group:", "group ") for one in found) or "built-in"


def values_words(values: Mapping[str, Any]) -> str:
    """Return the values that are set as a sentence's part."""
    words = []
    if values["enabled"] is not None:
        words.append("on" if values["enabled"] else "off")
    if values["auto_run"] is not None:
        words.append("by itself" if values["auto_run"] else "when asked")
    if values["interval_s"] is not None:
        words.append(f"every {every(values['interval_s'])}")
    if values["timeout_s"] is not None:
        words.append(f"at most {every(values['timeout_s'])} a look")
    if values["breaker_failures"] is not None:
        words.append(f"breaker opens after {values['breaker_failures']} failures")
    for field, text in (
        ("breaker_window_s", "counted over {}"),
        ("breaker_open_s", "open for {}"),
    ):
        if values[field] is not None:
            words.append(text.format(every(values[field])))
    if values["breaker_half_open"] is not None:
        words.append(f"closes after {values['breaker_half_open']} good")
    return ", ".join(words) or "nothing set"
