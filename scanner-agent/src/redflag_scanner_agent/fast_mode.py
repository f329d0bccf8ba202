"""Fast mode: whether this host polls without pause, and until when (docs/protocol.md 5).

Kept by the helper in its durable file, so it survives restarts of the agent and of the host, and judged in trusted
time, so a wrong wall clock neither ends nor prolongs it. There is one state per host: asked for twice, the later end
counts as asked, and nothing adds up.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from redflag_ops.logging import get_logger
from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire.errors import WireError
from redflag_wire.timestamps import format_timestamp, parse_timestamp

KEY = "fast_mode"

log = get_logger()


@dataclass(frozen=True, slots=True)
class FastState:
    """What was asked for last.

    Attributes:
        until: the end in trusted time; None with `forever`, and when it is off.
        forever: whether it lasts until somebody stops it.
    """

    until: datetime | None = None
    forever: bool = False

    def active(self, now: datetime | None) -> bool:
        """Whether it is on. Without trusted time an end that was set is taken for still ahead: the first poll tells."""
        return self.forever or (self.until is not None and (now is None or now < self.until))


class FastMode:
    """The state in the journal file; reads it anew each time, so an undone transaction leaves nothing behind.

    Args:
        file: the open file.
    """

    def __init__(self, file: JournalFile) -> None:
        self._file = file

    @property
    def state(self) -> FastState:
        """What was asked for last."""
        return parse(self._file.get(KEY))

    def enable(self, duration_s: int | None, now: datetime) -> FastState:
        """Switch it on from now, trusted time.

        Args:
            duration_s: seconds it lasts, None until it is stopped.
            now: trusted time.

        Raises:
            JournalError: the disk refused; what was before still counts.
        """
        return self._keep(
            FastState(forever=True)
            if duration_s is None
            else FastState(until=now + timedelta(seconds=duration_s))
        )

    def disable(self) -> FastState:
        """Switch it off; off stays off.

        Raises:
            JournalError: the disk refused; what was before still counts.
        """
        return self._keep(FastState())

    def _keep(self, state: FastState) -> FastState:
        until = None if state.until is None else format_timestamp(state.until)
        self._file.put(KEY, json.dumps({"until": until, "forever": state.forever}).encode())
        log.info("fast_mode.set", until=until, forever=state.forever)
        return state


def parse(data: bytes | None) -> FastState:
    """Return a stored state; off for none and for what cannot be read."""
    if data is None:
        return FastState()
    try:
        found = json.loads(data)
        until = found["until"]
        return FastState(
            None if until is None else parse_timestamp(str(until)), forever=found["forever"] is True
        )
    except (ValueError, KeyError, TypeError, WireError):
        log.warning("fast_mode.unreadable")
        return FastState()
