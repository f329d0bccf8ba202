"""How a background loop lives with faults that pass: database or broker away, a deadlock, a timeout.

Guarantees: a fault in ``TRANSIENT`` is logged, counted and waited for with full jitter and a bound; every other
exception leaves the loop, which ends the program (the supervisor starts it again and the record says why).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors

from redflag_broker_config.errors import BrokerConfigError
from redflag_dispatcher.errors import PublishError
from redflag_dispatcher.metrics import Metrics
from redflag_ops.logging import get_logger
from redflag_store.queries import transient

TRANSIENT: tuple[type[Exception], ...] = (
    *transient.TRANSIENT,
    nats.errors.Error,
    BrokerConfigError,
    PublishError,
)

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0

_log = get_logger()


def backoff_s(failures: int, *, first: float = FIRST_WAIT_S, longest: float = LONGEST_WAIT_S) -> float:
    """Return the wait after that many failures in a row: full jitter below a doubling bound."""
    ceiling = min(longest, first * 2 ** min(failures, 16))
    return random.uniform(first / 2, ceiling)  # noqa: S311 - jitter, not a secret


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set or the time is over; return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def keep(
    name: str,
    step: Callable[[], Awaitable[bool]],
    *,
    stop: asyncio.Event,
    wake: asyncio.Event,
    idle_s: float,
    metrics: Metrics,
) -> None:
    """Run ``step`` until ``stop`` is set: again at once while it returns True, else after a wake-up or ``idle_s``.

    Args:
        name: of the loop, for the log and the counter.
        step: one batch; returns whether there may be more at once.
        stop: ends the loop.
        wake: set by others to end a pause early; ``stop`` must set it too.
        idle_s: the longest pause.
        metrics: counts the faults.
    """
    failures = 0
    while not stop.is_set():
        wake.clear()
        if stop.is_set():
            return
        try:
            more = await step()
        except TRANSIENT as error:
            if transient.is_refused_data(error):
                raise
            failures += 1
            pause = backoff_s(failures)
            metrics.loop_faults.labels(name).inc()
            _log.warning(
                "loop.fault",
                loop=name,
                error=str(error) or type(error).__name__,
                failures=failures,
                wait_s=pause,
            )
            await wait_for(stop, pause)
            continue
        failures = 0
        if not more and not stop.is_set():
            await wait_for(wake, idle_s)
