"""Keys that sort in the order they were made, also within one millisecond.

A command's moves of one transaction have one time; their keys then tell which came first. UUIDv7 alone is random
within a millisecond, so a key that would not sort behind the last one is the last one plus one (RFC 9562 6.2,
method 2). Safe to call from several threads.
"""

import threading
from uuid import UUID

from redflag_wire.clock import Clock
from redflag_wire.ids import new_id

_VARIANT = 0b10 << 62
_RAND_B = (1 << 62) - 1


class Identifiers:
    """Makes keys; call it.

    Args:
        clock: gives the milliseconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = UUID(int=0)
        self._lock = threading.Lock()

    def __call__(self) -> UUID:
        """Return a key behind every one made before."""
        with self._lock:
            made = new_id(self._clock)
            self._last = made if made > self._last else _next(self._last)
            return self._last


def _next(last: UUID) -> UUID:
    low = last.int & _RAND_B
    if low < _RAND_B:
        return UUID(int=last.int + 1)
    # The 62 random bits are used up: the carry must leave version and variant alone.
    rest = (last.int >> 64) + 1
    return UUID(int=rest << 64 | _VARIANT)
