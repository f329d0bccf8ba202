"""Keeps the counters of lists small and right, and the months of update events ready.

The triggers keep the counters exact; this folds their entries together, and once a day compares them with a real count.
A difference is repaired and told, because there should be none.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_ops.logging import get_logger
from redflag_store.months import ensure_partitions
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.queries.tallies import RecountDisturbedError, fold, recount
from redflag_store.states import Severity
from redflag_wire.clock import Clock

COMPONENT = "counters"
SPARE_ENTRIES = 1000  # entries beyond one a counter before they are folded together
FIRST_AFTER = timedelta(minutes=10)  # from the start to the first daily work
AGAIN_AFTER = timedelta(hours=1)  # when hosts' reports were in its way

_log = get_logger()


class TallyUpkeep:
    """The upkeep of one dispatcher; ``step`` is cheap when nothing is due.

    Args:
        sessions: of the database.
        clock: the server's.
        new_id: makes UUIDv7 keys.
    """

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], *, clock: Clock, new_id: Callable[[], UUID]
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._new_id = new_id
        self._daily_at: datetime = clock.now() + FIRST_AFTER

    async def step(self) -> bool:
        """Fold, and do the daily work when it is due; never more to do at once."""
        async with self._sessions() as session, session.begin():
            await fold(session, entries=SPARE_ENTRIES)
        if self._clock.now() >= self._daily_at:
            await self.daily()
        return False

    async def daily(self) -> int:
        """Make the coming months' partitions and recount; return how many counters were wrong."""
        now = self._clock.now()
        self._daily_at = now + AGAIN_AFTER
        async with self._sessions() as session, session.begin():
            await ensure_partitions(session, self._clock)
        try:
            async with self._sessions() as session, session.begin():
                found = await recount(session)
        except RecountDisturbedError as error:
            _log.info("counters.recount_later", reason=str(error))
            return 0
        self._daily_at = now + timedelta(days=1)
        if found:
            _log.warning("counters.repaired", count=found)
            event = EventRow(
                self._new_id(),
                now,
                Severity.WARNING,
                COMPONENT,
                "counters_repaired",
                f"{found} counters of lists differed from a real count and were put right",
                None,
                {"count": found},
            )
            async with self._sessions() as session, session.begin():
                await write_events(session, [event])
        return found
