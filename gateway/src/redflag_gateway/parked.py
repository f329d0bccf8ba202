"""Polls that wait for something to arrive, one per agent.

Guarantees: a new poll of an agent ends its older one at once with nothing (an agent needs one answer, and a lost
connection is not always seen); a stop ends all of them; the number of parked polls is bounded.
"""

import asyncio
from enum import Enum
from uuid import UUID

PARKED_MAX = 100_000  # polls; about 12 KiB each in the HTTP server


class Woken(Enum):
    """Why a parked poll goes on."""

    WAKE = "wake"  # something may have arrived
    TIME = "time"  # its time is over, or the moment it wanted to look again has come
    REPLACED = "replaced"  # a newer poll of the same agent is here
    STOP = "stop"  # the gateway stops


class ParkedPolls:
    """The waiting room.

    Args:
        limit: polls that may wait at a time.
    """

    def __init__(self, limit: int = PARKED_MAX) -> None:
        self._limit = limit
        self._waiting: dict[UUID, asyncio.Future[Woken]] = {}
        self._stopped = False

    def __len__(self) -> int:
        """Return how many polls wait."""
        return len(self._waiting)

    def crowded(self) -> bool:
        """Whether so many wait that a poll is to be answered at once instead."""
        return len(self._waiting) > self._limit

    def agents(self) -> list[UUID]:
        """Return the agents whose polls wait."""
        return list(self._waiting)

    def admit(self, agent: UUID) -> asyncio.Future[Woken]:
        """Take a place for an agent's poll before it asks the broker, so that no wake-up is missed.

        The place must be given back with `leave`.
        """
        older = self._waiting.pop(agent, None)
        if older is not None and not older.done():
            older.set_result(Woken.REPLACED)
        place: asyncio.Future[Woken] = asyncio.get_running_loop().create_future()
        if self._stopped:
            place.set_result(Woken.STOP)
        self._waiting[agent] = place
        return place

    async def wait(self, place: asyncio.Future[Woken], seconds: float) -> Woken:
        """Wait in a place for at most so many seconds."""
        done, _ = await asyncio.wait({place}, timeout=max(0.0, seconds))
        return place.result() if done else Woken.TIME

    def renew(self, agent: UUID, place: asyncio.Future[Woken]) -> asyncio.Future[Woken]:
        """After a wake-up, take a fresh place for the same poll; an ended one stays ended."""
        if self._waiting.get(agent) is not place or self._stopped:
            return place
        if place.done() and place.result() is Woken.WAKE:
            place = asyncio.get_running_loop().create_future()
            self._waiting[agent] = place
        return place

    def leave(self, agent: UUID, place: asyncio.Future[Woken]) -> None:
        """Give a place back."""
        if self._waiting.get(agent) is place:
            del self._waiting[agent]

    def wake(self, agent: UUID) -> bool:
        """Wake the agent's poll, if one waits; say whether one did."""
        place = self._waiting.get(agent)
        if place is None or place.done():
            return False
        place.set_result(Woken.WAKE)
        return True

    def stop(self) -> None:
        """End every poll, now and from now on."""
        self._stopped = True
        for place in self._waiting.values():
            if not place.done():
                place.set_result(Woken.STOP)
