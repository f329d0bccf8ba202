"""Compares PostgreSQL with the broker for ever and repairs what differs; PostgreSQL is the truth.

Each round, in bounded batches: (a) published rows whose stream is another incarnation are due again under their next
number, with the same bytes; (b) for agents whose commands have waited longer than ``WAITING_S`` the broker's count is
compared with ours, and what is missing is due again; (c) their wake-ups are repeated, because one may be lost; (d)
outbox rows past their use are swept. Round by round the whole JetStream store may be lost and comes back
(ARCHITECTURE.md 2). Two reconcilers at once cost a little work and change nothing twice: every repair is guarded by
the row's state and number. What ends by time is ``ends``.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from uuid import UUID

from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import SHARDS
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.publish_rules import SHORTEST_LIFE_S, message_id
from redflag_dispatcher.streams import Streams
from redflag_ops.logging import get_logger
from redflag_store.queries import reconcile as queries
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.queries.reconcile import WaitingRow
from redflag_store.states import Severity
from redflag_wire.clock import Clock

WAITING_S = 60.0  # a command queued for longer is looked after
BATCH = 2000  # rows of one statement
_ZERO = UUID(int=0)

_log = get_logger()


class Reconciler:
    """One reconciler; ``step`` is one round.

    Args:
        sessions: of the database.
        nc: the broker.
        streams: what lies on it.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts repairs.
        due: called when something became due; wakes the relay.
        ensure: makes the streams and consumers that are missing; after a wiped store all are.
        waiting_s: seconds after which a queued command is looked after.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        nc: Client,
        streams: Streams,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
        metrics: Metrics,
        due: Callable[[], None],
        ensure: Callable[[], Awaitable[None]],
        waiting_s: float = WAITING_S,
    ) -> None:
        self._sessions = sessions
        self._nc = nc
        self._streams = streams
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._due = due
        self._ensure = ensure
        self._waiting_s = waiting_s

    async def step(self) -> bool:
        """Run one round."""
        await self._sweep()
        if self._nc.is_connected:
            await self._ensure()
            await self.refill()
            for shard in range(SHARDS):
                await self.look_after(shard)
        return False

    async def refill(self) -> int:
        """Make everything due again that another incarnation of its stream took; return how much it was."""
        total = 0
        for shard, created in (await self._streams.refresh()).items():
            found = BATCH
            while found == BATCH:
                now = self._clock.now()
                async with self._sessions() as session, session.begin():
                    found = await queries.republish_lost(
                        session,
                        shard,
                        created,
                        now=now,
                        not_before=now + timedelta(seconds=SHORTEST_LIFE_S),
                        limit=BATCH,
                    )
                total += found
                if found:
                    self._due()
        self._found("stream_lost", total)
        await self._tell_lost(total)
        return total

    async def _tell_lost(self, count: int) -> None:
        if not count:
            return
        async with self._sessions() as session, session.begin():
            await write_events(
                session,
                [
                    EventRow(
                        self._new_id(),
                        self._clock.now(),
                        Severity.WARNING,
                        "reconcile",
                        "broker_store_lost",
                        f"{count} commands are published again: the broker's store is another one",
                        None,
                        {"count": count},
                    )
                ],
            )

    async def look_after(self, shard: int) -> None:
        """Repeat wake-ups of a shard's long-waiting commands, and republish those the broker has lost."""
        after = (_ZERO, _ZERO)
        counts: dict[UUID, int] | None = None
        while True:
            before = self._clock.now() - timedelta(seconds=self._waiting_s)
            async with self._sessions() as session, session.begin():
                rows = await queries.waiting(
                    session, shard, published_before=before, after=after, limit=BATCH
                )
                agents = {row.agent_id for row in rows}
                pending = await queries.pending_counts(session, agents) if rows else {}
            if not rows:
                return
            if counts is None:
                counts = await self._streams.counts(shard)
            lost = await self._lost(rows, pending, counts)
            await self._republish(lost)
            await self._streams.wake(agents)
            self._found("wake_repeated", len(agents))
            after = (rows[-1].agent_id, rows[-1].command_id)
            if len(rows) < BATCH:
                return

    async def _lost(
        self, rows: Iterable[WaitingRow], pending: dict[UUID, int], counts: dict[UUID, int]
    ) -> list[WaitingRow]:
        """Return the rows whose message is not where the PubAck said; only agents with too few are looked at."""
        by_agent: defaultdict[UUID, list[WaitingRow]] = defaultdict(list)
        for row in rows:
            by_agent[row.agent_id].append(row)
        lost = []
        for agent, own in by_agent.items():
            if counts.get(agent, 0) >= pending.get(agent, 0):
                continue
            for row in own:
                found = await self._streams.message_at(agent, row.stream_seq)
                if found != message_id(str(row.command_id), row.n):
                    lost.append(row)
        return lost

    async def _republish(self, lost: list[WaitingRow]) -> None:
        if not lost:
            return
        async with self._sessions() as session, session.begin():
            found = await queries.republish(session, lost, self._clock.now())
        self._found("message_lost", found)
        self._due()

    async def _sweep(self) -> None:
        async with self._sessions() as session, session.begin():
            self._found("outbox_swept", await queries.sweep_outbox(session, BATCH))

    def _found(self, finding: str, count: int) -> None:
        if count:
            self._metrics.reconciled.labels(finding).inc(count)
            _log.info("reconcile.found", finding=finding, count=count)
