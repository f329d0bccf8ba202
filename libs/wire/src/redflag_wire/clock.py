"""The clock every program takes as an argument. ``ManualClock`` is shipped so that tests own the time.

``now`` is always aware and UTC. ``monotonic`` never goes back and says nothing about the date: durations and
deadlines use it, wall time is for records.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a program may ask about the time."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back within a process."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to.

    Args:
        start: aware time it shows at first; kept in UTC.
        monotonic: seconds its monotonic clock shows at first.
    """

    def __init__(self, start: datetime, monotonic: float = 1_000.0) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock needs an aware time")
        self._now = start.astimezone(UTC)
        self._monotonic = monotonic

    def now(self) -> datetime:
        """Return the time set."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced so far, plus the start."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks. ``seconds`` must not be negative."""
        if seconds < 0:
            raise ValueError("time does not run backwards; use set_now for a wrong wall clock")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_now(self, now: datetime) -> None:
        """Set the wall clock alone, as an administrator or a bad battery does."""
        if now.tzinfo is None:
            raise ValueError("a clock needs an aware time")
        self._now = now.astimezone(UTC)
