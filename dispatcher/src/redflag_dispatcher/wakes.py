"""The events that end a loop's pause early."""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Wakes:
    """One event per loop that others wake; ``all`` wakes every one, for a stop or a new connection."""

    signer: asyncio.Event = field(default_factory=asyncio.Event)
    relay: asyncio.Event = field(default_factory=asyncio.Event)
    jobs: asyncio.Event = field(default_factory=asyncio.Event)
    reconcile: asyncio.Event = field(default_factory=asyncio.Event)
    manifest: asyncio.Event = field(default_factory=asyncio.Event)
    beacon: asyncio.Event = field(default_factory=asyncio.Event)
    presence: asyncio.Event = field(default_factory=asyncio.Event)
    timed: asyncio.Event = field(default_factory=asyncio.Event)  # loops nobody wakes but a stop

    def all(self) -> None:
        """Wake every loop."""
        for name in self.__slots__:
            getattr(self, name).set()
