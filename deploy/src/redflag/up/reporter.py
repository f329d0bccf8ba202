"""What the person at the terminal, or the machine in their place, gets to see.

With `json` every record of every program is a line of JSON on standard error. With `console` there is progress,
and of the programs' records those of level warning and above. What `up` itself reports also goes to its own log.
A terminal that is gone is no reason to stop.
"""

import contextlib
import json
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TextIO

from redflag.up.log_files import RotatingLog
from redflag.up.log_line import LogLine


class LogFormat(StrEnum):
    """How to report."""

    JSON = "json"
    CONSOLE = "console"


class Reporter:
    """Writes to one stream and to one log.

    Args:
        stream: standard error.
        log_format: for whom.
        now: the wall clock, zone-aware.
        log: the log of `up` itself; None while there is no data directory.
    """

    def __init__(
        self,
        stream: TextIO,
        log_format: LogFormat,
        *,
        now: Callable[[], datetime],
        log: RotatingLog | None = None,
    ) -> None:
        self._stream = stream
        self._format = log_format
        self._now = now
        self.log = log
        self.quiet = (
            False  # while stopping, the programs' complaints about each other's absence are not shown
        )

    def report(self, event: str, text: str, *, level: str = "info", **fields: object) -> None:
        """Report something of `up` itself: `event` and `fields` for machines, `text` for people."""
        record = json.dumps(
            {"ts": self._time(), "level": level, "program": "up", "event": event, **fields}, default=str
        )
        if self.log is not None:
            self.log.write(record)
        self._write(record if self._format is LogFormat.JSON else text)

    def step(self, what: str, seconds: float) -> None:
        """Report a step of the start that is done."""
        self.report("step.done", f"  {what} ({seconds:.1f} s)", step=what, seconds=round(seconds, 3))

    def program_line(self, line: LogLine) -> None:
        """Show a program's line where it should be shown."""
        if self._format is LogFormat.JSON:
            self._write(line.as_json(self._time()))
        elif line.at_least("warning") and not self.quiet:
            self._write(f"  {line.level}: {line.program}: {line.readable()}")

    def _time(self) -> str:
        return self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()
