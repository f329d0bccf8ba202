"""Ends commands whose time is over, so that everything asked for reaches an end (docs/invariants.md I3).

Five ends, each a bounded batch: not admitted within the longest life of its kind, and not begun before ``exp``
(``expired``); begun and then nothing for its longest run and ``timeouts.silent_host_s`` more (``unknown``, code
``host_silent``); handed out ``delivery.most`` times without a word (``parked``); cancelled by a host that never saw
it (``cancelled``). Those concluded from silence are provisional: a late report replaces them once (ARCHITECTURE.md 4).
Two dispatchers share the rows by SKIP LOCKED.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import nats.errors
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_broker_config.errors import BrokerConfigError
from redflag_dispatcher.command_moves import moves_of
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.publish_rules import message_id
from redflag_dispatcher.streams import Streams
from redflag_ops.logging import get_logger
from redflag_store.command_states import HOST_SILENT, ServerState
from redflag_store.queries import ends as queries
from redflag_store.queries.ends import EndedRow, ParkedRow
from redflag_store.queries.journal import EventRow, write_events, write_moves
from redflag_store.states import Severity
from redflag_wire.clock import Clock
from redflag_wire.command import LONGEST_LIFE

EXPIRY_GRACE_S: Final = 30.0  # a report of a start just before exp may still be on its way
WORD_GRACE_S: Final = 60.0  # so may a host's answer to its last delivery, or its word on a cancelled command
BATCH: Final = 2000  # rows of one statement
COMPONENT: Final = "reconcile"

_log = get_logger()
_Find = Callable[[AsyncSession, datetime], Awaitable[Sequence[EndedRow]]]
_Tell = Callable[[EndedRow], tuple[str, str]]


class Ends:
    """One look at what must end; ``step`` is one round.

    Args:
        sessions: of the database.
        streams: what lies at the broker; a parked command's message is taken out of it.
        settings: the operators'.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts ends.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        streams: Streams,
        settings: LiveSettings,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
        metrics: Metrics,
    ) -> None:
        self._sessions = sessions
        self._streams = streams
        self._settings = settings
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics

    async def step(self) -> bool:
        """Run one round."""
        await self.expire()
        await self.end_silent()
        await self.park()
        await self.end_promised()
        return False

    async def expire(self) -> int:
        """End what nobody began in time; return how many commands it was."""
        grace = timedelta(seconds=EXPIRY_GRACE_S)
        lives = {kind.value: life for kind, life in LONGEST_LIFE.items()}

        async def begun(session: AsyncSession, now: datetime) -> Sequence[EndedRow]:
            return await queries.expire(session, exp_before=now - grace, now=now, limit=BATCH)

        async def admitted(session: AsyncSession, now: datetime) -> Sequence[EndedRow]:
            return await queries.expire_requested(session, lives, now=now, limit=BATCH)

        ended = await self._end(begun, ServerState.EXPIRED, "exp_passed")
        waited = await self._end(admitted, ServerState.EXPIRED, "not_admitted")
        return len(ended) + len(waited)

    async def end_silent(self) -> int:
        """End what a host began and says nothing more about; return how many commands it was."""
        silent = timedelta(seconds=(await self._settings.current()).number("timeouts.silent_host_s"))

        async def find(session: AsyncSession, now: datetime) -> Sequence[EndedRow]:
            return await queries.end_silent(session, silent=silent, now=now, limit=BATCH)

        def tell(row: EndedRow) -> tuple[str, str]:
            return (
                HOST_SILENT,
                f"the command {row.kind} was begun and the host is silent; whether it was done is unknown",
            )

        return len(await self._end(find, ServerState.UNKNOWN, HOST_SILENT, tell))

    async def park(self) -> int:
        """End what is handed out in vain, and take its message out of the stream; return how many it was."""
        most = (await self._settings.current()).number("delivery.most")
        grace = timedelta(seconds=WORD_GRACE_S)

        async def find(session: AsyncSession, now: datetime) -> Sequence[EndedRow]:
            return await queries.park(session, most=most, delivered_before=now - grace, now=now, limit=BATCH)

        def tell(row: EndedRow) -> tuple[str, str]:
            return (
                "command_parked",
                f"the command {row.kind} was handed to the host {most} times or more without an answer",
            )

        parked = await self._end(find, ServerState.PARKED, "deliveries_in_vain", tell)
        await self._take_out(row for row in parked if isinstance(row, ParkedRow))
        return len(parked)

    async def end_promised(self) -> int:
        """End what a host promised never to begin; return how many commands it was."""
        grace = timedelta(seconds=WORD_GRACE_S)

        async def find(session: AsyncSession, now: datetime) -> Sequence[EndedRow]:
            return await queries.end_promised(session, said_before=now - grace, now=now, limit=BATCH)

        return len(await self._end(find, ServerState.CANCELLED, "cancel_carried_out"))

    async def _end(
        self, find: _Find, state: ServerState, cause: str, tell: _Tell | None = None
    ) -> list[EndedRow]:
        ended: list[EndedRow] = []
        found = BATCH
        while found >= BATCH:
            now = self._clock.now()
            async with self._sessions() as session, session.begin():
                rows = await find(session, now)
                moves = [
                    move
                    for row in rows
                    for move in moves_of(
                        row.command_id,
                        ServerState(row.from_state),
                        (state,),
                        cause,
                        at=now,
                        new_id=self._new_id,
                    )
                ]
                await write_moves(session, moves)
                if tell is not None:
                    await write_events(session, [self._event(row, now, *tell(row)) for row in rows])
            for row in rows:
                self._metrics.commands.labels(row.kind, state.value).inc()
                _log.info(
                    "ends.ended",
                    op=None if row.op is None else str(row.op),
                    command=str(row.command_id),
                    agent=str(row.agent_id),
                    from_state=row.from_state,
                    state=state.value,
                    cause=cause,
                )
            found = len(rows)
            ended.extend(rows)
        if ended:
            self._metrics.reconciled.labels(cause).inc(len(ended))
        return ended

    def _event(self, row: EndedRow, at: datetime, code: str, message: str) -> EventRow:
        return EventRow(
            id=self._new_id(),
            at=at,
            severity=Severity.WARNING,
            component=COMPONENT,
            code=code,
            message=message,
            agent_id=row.agent_id,
            data={"command": str(row.command_id), "op": None if row.op is None else str(row.op)},
        )

    async def _take_out(self, rows: Iterable[ParkedRow]) -> None:
        for row in rows:
            if row.n is None or row.stream_seq is None:
                continue
            try:
                await self._streams.take_out(
                    row.agent_id, row.stream_seq, message_id(str(row.command_id), row.n)
                )
            except (TimeoutError, nats.errors.Error, BrokerConfigError) as error:
                # It leaves by its TTL; a host that takes it until then reports, and the report counts.
                _log.warning("ends.message_left", command=str(row.command_id), error=str(error))
