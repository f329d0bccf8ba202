"""When to ask the server next. Arithmetic only.

Normal mode: one poll per interval with proportional jitter, so that a fleet installed by one script does not poll as
one. After failures: exponential back-off with full jitter, so that a server that comes back is not met by everybody
at once. What the server asks for with Retry-After is obeyed. Fast mode: long polls back to back.
"""

import random
from collections.abc import Callable

NORMAL_S = 300.0  # seconds between two polls when the server names no interval
SHORTEST_S = 5.0  # bounds of the interval a server may ask for
LONGEST_S = 3_600.0
JITTER = 0.5  # the most of an interval that is added at random
BACKOFF_FIRST_S = 1.0  # ceiling of the wait after the first failure
BACKOFF_MOST_S = 300.0  # ceiling of any wait after failures
RETRY_AFTER_MOST_S = 3_600.0  # a longer Retry-After is cut to this
EMPTY_ANSWER_S = 1.0  # fast mode: seconds that an answer which came at once is worth waiting

Uniform = Callable[[float, float], float]
"""A random number between two bounds, such as `random.SystemRandom().uniform`."""

system_uniform: Uniform = random.SystemRandom().uniform
"""The one to use outside tests: hosts cloned from one image must not draw the same numbers."""


def normal_delay(next_poll_s: float | None, uniform: Uniform) -> float:
    """Return seconds until the next poll after a good one: the interval and up to half of it more.

    Args:
        next_poll_s: what the server asked for, None if nothing.
        uniform: the source of jitter.
    """
    asked = NORMAL_S if next_poll_s is None else min(max(float(next_poll_s), SHORTEST_S), LONGEST_S)
    return asked + uniform(0.0, asked * JITTER)


def fast_delay(took_s: float, had_commands: bool) -> float:
    """Return seconds until the next long poll: none, unless the server does not hold polls.

    Args:
        took_s: how long the last one was held.
        had_commands: whether it brought something.
    """
    if had_commands or took_s >= EMPTY_ANSWER_S:
        return 0.0
    return EMPTY_ANSWER_S - took_s


def failure_delay(failures: int, retry_after_s: float | None, uniform: Uniform) -> float:
    """Return seconds until the next try.

    Args:
        failures: how many there were in a row, at least 1.
        retry_after_s: what the server asked for, None if nothing; never undercut.
        uniform: the source of jitter.
    """
    ceiling = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 30))
    wait = uniform(0.0, ceiling)
    if retry_after_s is None:
        return wait
    return min(max(retry_after_s, 0.0), RETRY_AFTER_MOST_S) + wait


def parse_retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header; None for none, and for a date, which needs a right clock."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:  # noqa: PLR2004 - 30 years
        return None
    return float(text)
