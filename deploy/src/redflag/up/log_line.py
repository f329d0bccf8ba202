"""One line that a program wrote, understood as far as needed to show it: its level and its readable form.

RedFlag's own programs write JSON records; PostgreSQL and nats-server write plain lines with a level in them.
Anything else, for example what an interpreter says when it fails, is kept in the log and counts as `info`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
_RANK = {level: rank for rank, level in enumerate(LEVELS)}

_POSTGRES = re.compile(r"\b(DEBUG\d?|INFO|NOTICE|LOG|WARNING|ERROR|FATAL|PANIC):  ?")
_POSTGRES_LEVELS = {"WARNING": "warning", "ERROR": "error", "FATAL": "error", "PANIC": "critical"}
_NATS = re.compile(r"^\[\d+\] \S+ \S+ \[(TRC|DBG|INF|WRN|ERR|FTL)\] ")
_NATS_LEVELS = {"WRN": "warning", "ERR": "error", "FTL": "critical"}

# Fields that stand elsewhere in the readable form, or are too long for it.
_HIDDEN = frozenset({"ts", "level", "program", "event", "exception", "logger", "stack"})


@dataclass(frozen=True)
class LogLine:
    """A line of one program."""

    program: str
    raw: str
    level: str
    record: Mapping[str, Any] | None = field(default=None)  # when it was a JSON record
    message: str = ""  # without the program's own time and level

    def at_least(self, level: str) -> bool:
        """Tell whether the line is of this level or above."""
        return _RANK[self.level] >= _RANK[level]

    @property
    def of_a_stack(self) -> bool:
        """Whether this is a plain line out of a Python stack, which belongs in the log and nowhere else."""
        return self.record is None and self.message.startswith((" ", "Traceback (most recent call last)"))

    def as_json(self, now: str) -> str:
        """Return the line as a JSON record; `now` stands in for a time that it does not carry."""
        if self.record is not None:
            return self.raw
        return json.dumps(
            {"ts": now, "level": self.level, "program": self.program, "event": "log", "message": self.message}
        )

    def readable(self) -> str:
        """Return the line for people, without time; an exception is its last line only."""
        if self.record is None:
            return self.message
        fields = [f"{name}={value}" for name, value in self.record.items() if name not in _HIDDEN]
        exception = self.record.get("exception")
        if isinstance(exception, str) and exception.strip():
            fields.append(exception.strip().splitlines()[-1])
        return " ".join([str(self.record["event"]), *fields])


def parse_line(program: str, raw: str) -> LogLine:
    """Understand one line; never fails."""
    if raw.startswith("{"):
        try:
            record = json.loads(raw)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and "event" in record:
            level = record.get("level")
            return LogLine(program, raw, level if level in _RANK else "info", record)
    if program == "postgres" and (found := _POSTGRES.search(raw)):
        level = _POSTGRES_LEVELS.get(found[1], "info")
        return LogLine(program, raw, level, message=raw[found.end() :])
    if program == "nats" and (found := _NATS.match(raw)):
        return LogLine(program, raw, _NATS_LEVELS.get(found[1], "info"), message=raw[found.end() :])
    return LogLine(program, raw, "info", message=raw)
