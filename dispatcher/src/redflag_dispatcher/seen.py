"""Small facts from the gateways: which agents were seen, which commands were handed out. Neither decides anything.

Guarantees: both are bounded and written in batches; what is malformed is left out and counted, never a reason to
stop. Deliveries are counted per command, and only when the agent is the command's own.
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import PRESENCE_PREFIX
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.pull import ACK, Puller
from redflag_ops.logging import get_logger
from redflag_store.queries import ingest as queries
from redflag_store.queries.deliveries import count_deliveries
from redflag_store.queries.schedule import wake_seen
from redflag_wire.clock import Clock

PRESENCE_MAX = 1_000_000  # agents between two writes
WRITE_BATCH = 20_000  # rows of one statement
SKEW = timedelta(minutes=1)  # what a gateway's clock may run ahead
WAIT_S = 1.0
PRESENCE_QUEUE = "presence"

_log = get_logger()


def read_presence(data: bytes, now: datetime) -> dict[UUID, datetime]:
    """Return who was seen when; entries that make no sense are left out."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    seen: dict[UUID, datetime] = {}
    for text, at in found.items() if isinstance(found, dict) else ():
        try:
            when = datetime.fromtimestamp(at, UTC)
            seen[UUID(hex=text)] = min(when, now + SKEW)
        except (ValueError, TypeError, OverflowError, OSError):
            continue
    return seen


def read_deliveries(data: bytes) -> list[tuple[UUID, UUID]]:
    """Return (command, agent) of each delivery; entries that make no sense are left out."""
    try:
        found = json.loads(data)
    except ValueError:
        return []
    deliveries: list[tuple[UUID, UUID]] = []
    for entry in found if isinstance(found, list) else ():
        pair = _delivery(entry)
        if pair is not None:
            deliveries.append(pair)
    return deliveries


def _delivery(entry: Any) -> tuple[UUID, UUID] | None:  # noqa: ANN401 - whatever the peer sent
    try:
        return UUID(str(entry["cmd"])), UUID(str(entry["agent"]))
    except (KeyError, TypeError, ValueError):
        return None


class Presence:
    """Gathers ``rf.presence.*`` and writes ``last_seen_at``; ``step`` is one write."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        nc: Client,
        *,
        clock: Clock,
        arrived: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._nc = nc
        self._clock = clock
        self._arrived = arrived
        self._seen: dict[UUID, datetime] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe; each batch goes to one of the dispatchers."""
        self._subscription = await self._nc.subscribe(
            f"{PRESENCE_PREFIX}.*", queue=PRESENCE_QUEUE, cb=self._on_message
        )

    async def stop(self) -> None:
        """Give the subscription back."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    async def _on_message(self, message: Msg) -> None:
        if len(self._seen) < PRESENCE_MAX:
            self._seen.update(read_presence(message.data, self._clock.now()))
            self._arrived()

    async def step(self) -> bool:
        """Write up to one batch; return whether more wait. On a fault they wait for the next write."""
        ids = sorted(self._seen)[:WRITE_BATCH]
        if not ids:
            return False
        batch = {agent: self._seen[agent] for agent in ids}
        async with self._sessions() as session, session.begin():
            await queries.note_presence(session, batch)
            await wake_seen(session, batch)  # scans that wait for their host
        for agent, at in batch.items():
            if self._seen.get(agent) == at:
                del self._seen[agent]
        return bool(self._seen)


class Deliveries:
    """Counts ``rf.up.delivered.*`` per command; ``step`` is one batch."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        puller: Puller,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._sessions = sessions
        self._puller = puller
        self._clock = clock
        self._metrics = metrics

    async def step(self) -> bool:
        """Take one batch."""
        messages = await self._puller.next_batch(WAIT_S)
        counted = Counter(pair for message in messages for pair in read_deliveries(message.data))
        if counted:
            async with self._sessions() as session, session.begin():
                await count_deliveries(
                    session,
                    [(command, agent, times) for (command, agent), times in sorted(counted.items())],
                    self._clock.now(),
                )
            self._metrics.deliveries.inc(counted.total())
        await self._puller.answer(messages, ACK)
        return True
