"""The operators' settings as the dispatcher's loops read them: fresh after a notice, and at the latest after 30 s.

A change is told on `redflag_store.queries.settings.SETTINGS_CHANNEL`; whoever listens there calls ``stale``. A lost
notice costs ``KEPT_S`` seconds and no more.
"""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_store.fleet_settings import FleetSettings
from redflag_store.queries.settings import read_settings
from redflag_wire.clock import Clock

KEPT_S: Final = 30.0  # what was read counts for this long without a notice


class LiveSettings:
    """The settings in force, shared by all loops of one program.

    Args:
        maker: of the database's sessions.
        clock: the server's; its monotonic part tells how old the copy is.
    """

    def __init__(self, maker: async_sessionmaker[AsyncSession], clock: Clock) -> None:
        self._maker = maker
        self._clock = clock
        self._kept: FleetSettings | None = None
        self._read_at = 0.0
        self._changes = 0

    def stale(self) -> None:
        """Say that a setting may have changed; the next ``current`` reads afresh."""
        self._changes += 1
        self._kept = None

    async def current(self) -> FleetSettings:
        """Return the settings in force, read from the database when the copy is stale.

        Raises:
            OSError, TimeoutError, sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
        """
        now = self._clock.monotonic()
        if self._kept is not None and now - self._read_at < KEPT_S:
            return self._kept
        changes = self._changes
        async with self._maker() as session, session.begin():
            found = await read_settings(session)
        if changes == self._changes:
            # Else it changed while it was read: the next reader looks again.
            self._kept, self._read_at = found, now
        return found
