"""A host's time, made of verified beacons and the host's own monotonic clock (docs/protocol.md 4).

Invariants:
- The wall clock plays no part: a host whose date is years off behaves the same.
- Within a process the time never goes back and never runs slower than the monotonic clock. A beacon that was held
  back on its way therefore cannot slow a host down and stretch a command's life.
- Over a restart it never falls below the high-water mark, the newest beacon's time, which the caller persists.
- Without a beacon in this process there is no time: after a restart nobody knows how long the host was off.
"""

from datetime import datetime, timedelta


class TrustedTime:
    """The best lower bound of the signer's time.

    Args:
        high_water: the mark persisted by an earlier process, or None for a new host.
    """

    def __init__(self, high_water: datetime | None = None) -> None:
        self._high_water = high_water
        self._base: datetime | None = None  # a beacon's time
        self._base_monotonic = 0.0  # the monotonic seconds at which it was taken
        self._last: datetime | None = None  # the latest answer given

    @property
    def high_water(self) -> datetime | None:
        """The newest beacon time taken; persist it before acting on it."""
        return self._high_water

    def observe(self, beacon_now: datetime, monotonic: float) -> bool:
        """Take the time of a verified beacon.

        Args:
            beacon_now: the beacon's ``now``.
            monotonic: seconds of the host's monotonic clock at its arrival.

        Returns:
            False for a beacon older than the newest one taken: a replay, which changes nothing.
        """
        if beacon_now.tzinfo is None:
            raise ValueError("a beacon's time is aware")
        if self._high_water is not None and beacon_now < self._high_water:
            return False
        self._high_water = beacon_now
        current = self.now(monotonic)
        # A beacon that is younger than all before but behind the clock spent a while on its way: the clock is right.
        if current is None or beacon_now > current:
            self._base, self._base_monotonic = beacon_now, monotonic
        return True

    def now(self, monotonic: float) -> datetime | None:
        """Return the trusted time, or None while no beacon came since the start.

        Args:
            monotonic: seconds of the host's monotonic clock; one that goes back is taken as standing still.
        """
        if self._base is None:
            return None
        moment = self._base + timedelta(seconds=max(0.0, monotonic - self._base_monotonic))
        if self._last is not None and moment < self._last:
            moment = self._last
        self._last = moment
        return moment
