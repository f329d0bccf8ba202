"""How many records about refusals the log gets, so that nobody can fill the disk by being refused. Arithmetic only."""

from typing import Final

RECORDS_PER_S: Final = 20.0
BURST: Final = 200


class LogBudget:
    """A token bucket for records; what does not fit is counted.

    Args:
        rate: records per second.
        burst: records at once.
    """

    def __init__(self, rate: float = RECORDS_PER_S, burst: int = BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at: float | None = None
        self._dropped = 0

    def take(self, now: float) -> bool:
        """Say whether one more record may be written.

        Args:
            now: monotonic seconds.
        """
        if self._at is not None:
            self._left = min(float(self._burst), self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            self._dropped += 1
            return False
        self._left -= 1.0
        return True

    def dropped(self) -> int:
        """Return how many did not fit since this was asked last."""
        dropped, self._dropped = self._dropped, 0
        return dropped
