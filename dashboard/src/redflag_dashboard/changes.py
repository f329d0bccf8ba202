"""Tells requests that wait for a command that it may have moved.

Guarantees: a notice never says what the state is, only that it is worth a look; whoever waits also looks by
itself every `LOOK_AGAIN_S` seconds, so a lost notice costs that and no more; at most `WAITING_MAX` wait at once.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol
from uuid import UUID

from redflag_dashboard.metrics import Metrics

WAITING_MAX: Final = 1000  # requests
LOOK_AGAIN_S: Final = 2.0


class TooManyWaitingError(Exception):
    """As many requests wait as are allowed."""


class Notice(Protocol):
    """One notification, as `redflag_store.listen` hands it on."""

    @property
    def payload(self) -> str:
        """Its text."""
        ...


class Changes:
    """Hands notices on to those who wait; one per program. `closing`: nobody should wait any more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._count = 0
        self.closing = False

    def notice(self, payload: str) -> None:
        """Take a notice `{"kind": "command", "id": ...}`; any other text is somebody else's and is left alone."""
        try:
            found = json.loads(payload)
            command_id = UUID(found["id"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        for event in self._waiting.get(command_id, ()):
            event.set()

    def look_afresh(self) -> None:
        """Wake everybody: notices may have been lost."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    def close(self) -> None:
        """Wake everybody for good: the program stops, and who waits is to be answered with what is known."""
        self.closing = True
        self.look_afresh()

    @asynccontextmanager
    async def watch(self, command_id: UUID) -> AsyncIterator["Watch"]:
        """Watch a command; begin before reading its state, so that no move falls between.

        Raises:
            TooManyWaitingError: see `WAITING_MAX`.
        """
        if self._count >= WAITING_MAX:
            raise TooManyWaitingError
        event = asyncio.Event()
        self._count += 1
        self._waiting.setdefault(command_id, set()).add(event)
        self._metrics.waiting.set(self._count)
        try:
            yield Watch(event)
        finally:
            self._count -= 1
            events = self._waiting[command_id]
            events.discard(event)
            if not events:
                del self._waiting[command_id]
            self._metrics.waiting.set(self._count)


class Watch:
    """One who waits."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to look at, at the latest after `timeout_s` or `LOOK_AGAIN_S` seconds."""
        try:
            async with asyncio.timeout(max(0.0, min(timeout_s, LOOK_AGAIN_S))):
                await self._event.wait()
        except TimeoutError:
            return  # a look without a notice is as good
        finally:
            self._event.clear()
