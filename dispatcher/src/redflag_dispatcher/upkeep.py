"""Removes what is older than its retention (settings ``retention.*``), a bounded batch after the other.

Guarantees: each batch is a transaction of its own, so nobody waits long for it; one dispatcher at a time does it (a
lock of the database), another one's turn is the next round; no batch removes anything younger than its setting, and
the database refuses to forget what is younger than a day, whatever is asked.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_ops.logging import get_logger
from redflag_store.fleet_settings import FleetSettings
from redflag_store.queries import upkeep as queries
from redflag_wire.clock import Clock

BATCH: Final = 2000  # rows of one transaction
BATCHES_MAX: Final = 50  # of one kind in one round; what is left is the next round's
MONTH_DAYS: Final = 31
SLACK: Final = timedelta(hours=1)  # between the server's clock and the database's

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of thing that is removed.

    Attributes:
        what: its name, for the metrics page.
        prune: removes one batch of what is from before a moment; returns how many rows.
        kept: how long it is kept, by the settings.
    """

    what: str
    prune: Callable[[AsyncSession, datetime, int], Awaitable[int]]
    kept: Callable[[FleetSettings], timedelta]


def _days(key: str) -> Callable[[FleetSettings], timedelta]:
    return lambda settings: timedelta(days=settings.number(key)) + SLACK


TASKS: Final = (
    Task("commands", queries.prune_commands, _days("retention.commands_days")),
    Task("reports", queries.prune_reports, _days("retention.reports_days")),
    Task("system_events", queries.prune_system_events, _days("retention.events_days")),
    Task("job_items", queries.prune_jobs, _days("retention.commands_days")),
    Task(
        "update_event_months",
        queries.prune_update_events,
        lambda settings: timedelta(days=MONTH_DAYS * settings.number("retention.update_events_months")),
    ),
    Task(
        "idempotency_keys",
        queries.prune_idempotency,
        lambda settings: timedelta(hours=settings.number("retention.idempotency_hours")) + SLACK,
    ),
)
"""What is removed. The figures of hosts have an upkeep of their own (``host_effects``)."""


class Upkeep:
    """The upkeep of one dispatcher; ``step`` is one round.

    Args:
        sessions: of the database.
        settings: the operators'.
        clock: the server's.
        metrics: counts what was removed.
        batch: rows of one transaction.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        settings: LiveSettings,
        *,
        clock: Clock,
        metrics: Metrics,
        batch: int = BATCH,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._batch = batch

    async def step(self) -> bool:
        """Run one round; return whether something was left for the next one."""
        settings = await self._settings.current()
        left = False
        for task in TASKS:
            before = self._clock.now() - task.kept(settings)
            removed = 0
            for _ in range(BATCHES_MAX):
                count = await self._prune(task, before)
                removed += count
                if count < self._batch:
                    break
            else:
                left = True
            if removed:
                _log.info("upkeep.removed", what=task.what, count=removed, before=before.isoformat())
        return left

    async def _prune(self, task: Task, before: datetime) -> int:
        async with self._sessions() as session, session.begin():
            if not await queries.alone(session):
                return 0
            count = await task.prune(session, before, self._batch)
        self._metrics.pruned.labels(task.what).inc(count)
        return count
