"""How many commands a rate lets pass now: the generic cell rate algorithm (ITU-T I.371, annex A). Pure, no I/O.

A rate is kept as one moment, the *theoretical arrival time* (tat): until when what was let pass is paid for at the
average rate. It may lie ahead of now by at most the burst. One moment per rate is all that must be stored, so a limit
holds over restarts and for any number of programs that share the row.

Guarantees: never more than ``burst`` at once and ``burst + per_period * t / period`` within any time t; rounding is
against whoever asks, by less than a microsecond a call; a moment that lies further ahead than the burst (a changed
setting, a clock that was set back) counts as the whole burst and no more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """An average and how much may come at once.

    Attributes:
        per_period: how many in one period, at least 1.
        period_s: seconds of the period, at least 1.
        burst: how many at once after a long pause, at least 1.
    """

    per_period: int
    period_s: int
    burst: int

    def __post_init__(self) -> None:
        if min(self.per_period, self.period_s, self.burst) < 1:
            raise ValueError("a rate is made of whole numbers above zero")


@dataclass(frozen=True, slots=True)
class Grant:
    """What was let pass.

    Attributes:
        count: how many.
        tat: to be stored; unchanged in meaning when nothing passed.
        wait_s: seconds until one more would pass; 0 when it would at once.
    """

    count: int
    tat: datetime
    wait_s: float


def grant(rate: Rate, tat: datetime | None, now: datetime, wanted: int) -> Grant:
    """Return how many of `wanted` pass at `now`.

    Args:
        rate: the limit.
        tat: what is stored; None when nothing ever passed.
        now: the server's clock.
        wanted: how many are asked for; 0 asks only what is free (see `free`).
    """
    period = rate.period_s * _US
    debt = 0 if tat is None else max(0, (tat - now) // timedelta(microseconds=1))
    # In units of 1/per_period microseconds, so that nothing is rounded before the end.
    used = min(debt * rate.per_period, rate.burst * period)
    count = max(0, min(wanted, (rate.burst * period - used) // period))
    used += count * period
    missing = used + period - rate.burst * period
    return Grant(
        count,
        now + timedelta(microseconds=-(-used // rate.per_period)),
        max(0, missing) / rate.per_period / _US,
    )


def free(rate: Rate, tat: datetime | None, now: datetime) -> int:
    """Return how many would pass at `now`; at most the burst."""
    return grant(rate, tat, now, rate.burst).count
