"""When a system event is the same thing again, and counts on the row of the first time. Pure.

The same thing: equal severity, component, code, host and message within one window of `WINDOW_S` seconds; for a
critical one equal data too. Informative events of RedFlag's own programs are never folded: each start and each
enrolment is a row; but for what happens all the time (`REGULAR`), of which an hour is a row. So a host, or a stranger
who knocks with a wrong token, cannot fill the table by repeating itself.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from redflag_store.states import Severity

WINDOW_S: Final = 3_600
DATA_MAX_BYTES: Final = 8_192  # of an event's data as JSON
MESSAGE_MAX_CHARS: Final = 2_048

HOST_COMPONENT: Final = "agent"
"""What a host says itself has this component, or one below it such as `agent.poller`."""

REGULAR: Final = frozenset({"access_renewed"})
"""Codes of informative events that each host causes once an hour or so."""

_PLAIN: Final = frozenset({Severity.DEBUG, Severity.INFO})


def fold_of(
    *,
    at: datetime,
    severity: Severity,
    component: str,
    code: str,
    message: str,
    agent_id: UUID | None,
    data: Mapping[str, Any],
) -> str | None:
    """The key that the same thing shares within one window; None for what is never folded."""
    from_host = component == HOST_COMPONENT or component.startswith(f"{HOST_COMPONENT}.")
    if severity in _PLAIN and not from_host and code not in REGULAR:
        return None
    parts: list[object] = [
        int(at.timestamp()) // WINDOW_S,
        severity.value,
        component,
        code,
        str(agent_id),
        message,
    ]
    if severity is Severity.CRITICAL:
        parts.append(data)
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def bounded(data: Mapping[str, Any]) -> str:
    """The data as JSON, or only its size when it is too large to keep."""
    text = json.dumps(data)
    return text if len(text) <= DATA_MAX_BYTES else json.dumps({"left_out_bytes": len(text)})


def component_of(part: str) -> str:
    """The component of what a part of a host's agent says: `agent` for the agent itself, else `agent.<part>`."""
    return HOST_COMPONENT if part == HOST_COMPONENT else f"{HOST_COMPONENT}.{part}"
