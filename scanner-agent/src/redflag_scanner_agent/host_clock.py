"""The host's clocks. Time asleep counts: a laptop that was closed for a day must not take old commands for young."""

import time
from datetime import UTC, datetime


class HostClock:
    """Wall time for records, and a monotonic clock that also runs while the machine sleeps."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since the machine started, sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
