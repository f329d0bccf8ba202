"""When a program that ended is started again, and when that is no use any more.

A rule without clock or randomness of its own: times are seconds of one monotonic clock, the jitter is given.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

QUICK_DEATHS = 5  # that many within WINDOW_S mean that starting again does not help
WINDOW_S = 60.0
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 8.0


@dataclass
class RestartPolicy:
    """Decides for one program.

    Args:
        jitter: gives a number from 0 to 1; delays are between half and the whole of the step.
    """

    jitter: Callable[[], float]
    _deaths: "deque[float]" = field(default_factory=lambda: deque(maxlen=QUICK_DEATHS))

    def died(self, now: float) -> float | None:
        """Note a death; return the seconds to wait before the next start, None when enough is enough."""
        while self._deaths and now - self._deaths[0] > WINDOW_S:
            self._deaths.popleft()
        self._deaths.append(now)
        if len(self._deaths) >= QUICK_DEATHS:
            return None
        step: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (len(self._deaths) - 1))
        return step * (0.5 + self.jitter() / 2)
