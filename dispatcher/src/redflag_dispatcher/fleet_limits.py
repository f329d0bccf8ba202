"""The fleet's limits at work: looked at without a lock, taken under one, in a short transaction of their own.

Guarantees: what two dispatchers take together never exceeds a limit, because both take under the lock of the same
rows; a dispatcher that dies between taking and signing has used up room, never more than it was given.
"""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.admission import Room, admit, rates_of, room
from redflag_dispatcher.live_settings import LiveSettings
from redflag_store.queries import rate_limits
from redflag_wire.clock import Clock


class FleetLimits:
    """What may be signed in the whole fleet.

    Args:
        sessions: of the database.
        settings: the operators'.
        clock: the server's.
    """

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], settings: LiveSettings, *, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._clock = clock

    async def look(self, kinds: Mapping[str, int]) -> Room:
        """Return what could be signed of these kinds; nothing is taken."""
        rates = rates_of(await self._settings.current(), kinds)
        async with self._sessions() as session, session.begin():
            tats = await rate_limits.fleet_tats(session, list(rates))
        return room(rates, tats, self._clock.now())

    async def take(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Take what may be signed of each kind; return how many that is. It is committed when this returns."""
        rates = rates_of(await self._settings.current(), wanted)
        if not rates:
            return dict(wanted)
        async with self._sessions() as session, session.begin():
            now = self._clock.now()
            tats = await rate_limits.lock_fleet_tats(session, list(rates), now)
            admitted = admit(rates, tats, now, wanted)
            await rate_limits.set_fleet_tats(session, admitted.tats)
        return admitted.counts
