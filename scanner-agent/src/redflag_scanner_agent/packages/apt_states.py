"""The state of one update on this host, and that state in words.

Rules only. Nothing is taken from apt's prose but the words quoted for people.

- `held`: dpkg's selection says hold.
- `available`: the simulated full upgrade changes it; of a phased version that means that this machine is among
  those that get it.
- `phased`: it would not be changed, and the archive gives the version to a part of all machines only.
- `pinned`: a preferences file keeps it away (`apt_pins`).
- `kept_back`: it would not be changed for any other reason.
"""

import re
from typing import Literal

from redflag_scanner_agent.packages.apt_parse import parse_simulation

State = Literal["available", "held", "kept_back", "phased", "pinned"]
HELD = "held on this host (apt-mark hold)"
KEPT_BACK = "apt's full upgrade leaves it as it is"
FULLY_PHASED = 100  # percent
_NAMED_MAX = 5  # packages or dependencies named in one reason
_UNMET = re.compile(r"^ (?:(\S+) : )?\s*((?:Depends|PreDepends|Breaks|Conflicts): [^\n]*)$", re.MULTILINE)


def state_of(*, held: bool, changes: bool, percent: int | None, candidate: str) -> tuple[State, str | None]:
    """The state of an offered version, and the reason where it is not `available`.

    Args:
        held: whether dpkg holds the package.
        changes: whether the simulated full upgrade changes it.
        percent: the share of all machines the archive gives it to, None for all.
        candidate: the version.
    """
    if held:
        return "held", HELD
    if changes:
        return "available", None
    if percent is not None:
        return (
            "phased",
            f"the archive gives {candidate} to {percent} % of all machines, and not yet to this one",
        )
    return "kept_back", KEPT_BACK


def phased_percent(percentage: int | None) -> int | None:
    """The archive's Phased-Update-Percentage, None when the version is for every machine."""
    return percentage if percentage is not None and percentage < FULLY_PHASED else None


def kept_back_reason(exit_code: int, stdout: str) -> str:
    """Why apt would not upgrade a package by itself, read from `apt-get -s install` of just that package."""
    if exit_code != 0:
        unmet = [" ".join(match.group(2).split()) for match in _UNMET.finditer(stdout)]
        return "; ".join(dict.fromkeys(unmet[:_NAMED_MAX])) or KEPT_BACK
    steps = parse_simulation(stdout).steps
    gone = [step.name for step in steps if step.new is None]
    if gone:
        return f"it would remove {_listed(gone)}"
    new = [step.name for step in steps if step.old is None]
    return f"it would bring in {_listed(new)}" if new else KEPT_BACK


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
