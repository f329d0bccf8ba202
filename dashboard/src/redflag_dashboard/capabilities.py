"""What a host said it can do with its package managers. Pure.

A host that never said anything may do everything: it refuses by itself what it cannot do.
"""

from collections.abc import Sequence
from typing import Any, Final

NO_REASON: Final = "it did not say why"


def managers(capabilities: Sequence[Any]) -> list[str]:
    """The names of the host's package managers, sorted; empty when it never named any."""
    return sorted(
        {str(one["manager"]) for one in capabilities if isinstance(one, dict) and one.get("manager")}
    )


def why_no_install(capabilities: Sequence[Any], manager: str) -> str | None:
    """Why the host installs nothing with `manager`; None when it does, or never said that it does not."""
    for one in capabilities:
        if isinstance(one, dict) and one.get("manager") == manager and one.get("can_install") is False:
            return str(one.get("reason") or NO_REASON)
    return None
