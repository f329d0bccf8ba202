"""A start that waits: what is not there yet (database, broker, keys) is tried again until it is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import ProgrammingError

from redflag_dispatcher.errors import KeySetError
from redflag_dispatcher.readiness import Readiness
from redflag_dispatcher.retrying import TRANSIENT, backoff_s, wait_for
from redflag_ops.logging import get_logger

START_FAULTS: tuple[type[Exception], ...] = (*TRANSIENT, KeySetError, ProgrammingError)

_log = get_logger()
_T = TypeVar("_T")


async def persist(
    what: str, act: Callable[[], Awaitable[_T]], readiness: Readiness, stop: asyncio.Event
) -> _T | None:
    """Try until it works; None when told to stop first. Readiness and log say what is waited for."""
    failures = 0
    readiness.waiting = what
    while not stop.is_set():
        try:
            return await act()
        except START_FAULTS as error:
            failures += 1
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            readiness.waiting = f"{what}: {reason}"
            _log.warning("start.waiting", what=what, error=reason, failures=failures)
            await wait_for(stop, backoff_s(failures))
    return None
