"""Brings outbox rows to the broker: claim, publish pipelined, mark in one transaction, wake the gateways.

Guarantees: what is published is exactly the stored bytes, under the id ``<command>:<n>`` and with the remaining
life as TTL; a row is marked only for an answer the broker gave to that very ``n``; a relay that dies anywhere in
between leaves a claim that ends by time, and the repetition is swallowed by the broker or answered from the host's
journal. Two relays share the rows by SKIP LOCKED.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from nats.aio.client import Client
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.subjects import HEADER_MESSAGE_ID, HEADER_TTL, command_subject
from redflag_dispatcher.command_moves import moves_of
from redflag_dispatcher.errors import PublishError
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.publish_rules import (
    SHORTEST_LIFE_S,
    PubAck,
    Verdict,
    judge,
    message_id,
    next_try,
    ttl_s,
)
from redflag_dispatcher.publisher import Outgoing, Publisher
from redflag_dispatcher.streams import Streams
from redflag_ops.logging import get_logger
from redflag_store.command_states import ServerState
from redflag_store.queries import outbox
from redflag_store.queries.journal import write_moves
from redflag_store.queries.outbox import DueRow, PublishedRow, PutOffRow
from redflag_wire.clock import Clock

BATCH = 500  # rows of one claim
CLAIM_S = 60  # a claim's life; well above the publisher's deadline and the marking
CAUSE = "puback"

_log = get_logger()


class Relay:
    """One relay; ``step`` is one batch.

    Args:
        sessions: of the database.
        nc: the broker.
        publisher: started.
        streams: tells which incarnation of a stream took a message.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts outcomes.
        batch: rows of one claim.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        nc: Client,
        publisher: Publisher,
        streams: Streams,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
        metrics: Metrics,
        batch: int = BATCH,
    ) -> None:
        self._sessions = sessions
        self._nc = nc
        self._publisher = publisher
        self._streams = streams
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._batch = batch

    async def step(self) -> bool:
        """Publish one batch; return whether there may be more due at once."""
        if not self._nc.is_connected:
            return False
        rows = await self.claim()
        if not rows:
            return False
        # Before publishing: a store wiped in between then shows as another incarnation, never the other way round.
        created = self._streams.all_created()
        answers = await self.publish(rows)
        await self.mark(rows, answers, created)
        return len(rows) == self._batch

    async def claim(self) -> list[DueRow]:
        """Claim due rows, in a transaction of its own."""
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            return await outbox.claim_due(
                session,
                self._batch,
                now=now,
                claimed_until=now + timedelta(seconds=CLAIM_S),
                not_before=now + timedelta(seconds=SHORTEST_LIFE_S),
            )

    async def publish(self, rows: list[DueRow]) -> list[PubAck | PublishError]:
        """Publish the rows' bytes; return the broker's answers."""
        now = self._clock.now()
        return await self._publisher.publish(
            [
                Outgoing(
                    command_subject(row.agent_id),
                    row.envelope,
                    {
                        HEADER_MESSAGE_ID: message_id(str(row.command_id), row.n),
                        HEADER_TTL: f"{ttl_s(row.exp, now)}s",
                    },
                )
                for row in rows
            ]
        )

    async def mark(
        self,
        rows: list[DueRow],
        answers: list[PubAck | PublishError],
        created: Mapping[int, datetime],
    ) -> None:
        """Write what the broker said, and wake the agents whose commands it holds.

        Args:
            rows: that were published.
            answers: one for each.
            created: which incarnation each shard's stream was when the publishing began.
        """
        published: list[PublishedRow] = []
        put_off: list[PutOffRow] = []
        now = self._clock.now()
        for row, answer in zip(rows, answers, strict=True):
            verdict = judge(answer)
            stored = verdict is Verdict.PUBLISHED
            if isinstance(answer, PubAck):
                if verdict is Verdict.LOOK_UP:
                    found = await self._streams.message_at(row.agent_id, answer.seq)
                    stored = found == message_id(str(row.command_id), row.n)
                if stored:
                    published.append(PublishedRow(row.command_id, row.n, created.get(row.shard), answer.seq))
                else:
                    put_off.append(PutOffRow(row.command_id, row.n, row.n + 1, now, "duplicate_not_stored"))
            else:
                due = next_try(verdict, row.attempts, now, random.random())  # noqa: S311 - jitter
                put_off.append(PutOffRow(row.command_id, row.n, row.n, due, str(answer)))
            self._metrics.published.labels(verdict.value).inc()
        async with self._sessions() as session, session.begin():
            queued = await outbox.mark_published(session, published, now)
            await write_moves(
                session,
                [
                    move
                    for command, _ in queued
                    for move in moves_of(
                        command, ServerState.SIGNED, (ServerState.QUEUED,), CAUSE, at=now, new_id=self._new_id
                    )
                ],
            )
            await outbox.put_off(session, put_off)
        self._tell(rows, published, put_off)
        marked = {row.command_id for row in published}
        await self._streams.wake(row.agent_id for row in rows if row.command_id in marked)

    def _tell(self, rows: list[DueRow], published: list[PublishedRow], put_off: list[PutOffRow]) -> None:
        marked = {row.command_id for row in published}
        for op, count in Counter(row.op for row in rows if row.command_id in marked).items():
            _log.info("relay.published", op=None if op is None else str(op), count=count)
        if put_off:
            _log.warning("relay.put_off", count=len(put_off), reason=put_off[0].error)


class OutboxLag:
    """Shows on the metrics page how far publishing is behind."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, clock: Clock, metrics: Metrics) -> None:
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics

    async def step(self) -> bool:
        """Measure once."""
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            due, oldest = await outbox.backlog(session, now)
        self._metrics.outbox_due.set(due)
        self._metrics.outbox_lag.set(0 if oldest is None else max(0.0, (now - oldest).total_seconds()))
        return False
