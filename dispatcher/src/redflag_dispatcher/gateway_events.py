"""Takes what gateways tell of themselves out of the broker into the system events.

Guarantees: an event is stored before it is acknowledged; everything in it is bounded and marked as the gateway's
word (component ``gateway``, its own name and clock in the data); what is malformed is ended at the broker and told
as one counted event, because a gateway that sends such a thing is broken or somebody else's. So is what comes beyond
``BURST`` and ``RATE_PER_S``, of all gateways together (their names are their own word): nobody fills the table.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.pull import ACK, TERM, Pulled, Puller
from redflag_ops.logging import get_logger
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.states import Severity
from redflag_wire.clock import Clock
from redflag_wire.errors import WireError
from redflag_wire.gateway_event import EVENT_MAX_BYTES, GatewayEvent

COMPONENT = "gateway"
WAIT_S = 1.0  # for the first message of a batch
BURST = 500  # events stored at once; an honest gateway keeps 64 different ones while the broker is away
RATE_PER_S = 1.0  # and for ever
COUNT_MAX = 1_000_000  # believed of one event: a counter is no place for a made-up number

_log = get_logger()


class GatewayEvents:
    """Stores gateways' events; ``step`` is one batch.

    Args:
        maker: of the database's sessions.
        puller: of the consumer ``ingest-event``, started.
        clock: the server's.
        new_id: makes UUIDv7 keys.
    """

    def __init__(
        self,
        maker: async_sessionmaker[AsyncSession],
        puller: Puller,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
    ) -> None:
        self._maker = maker
        self._puller = puller
        self._clock = clock
        self._new_id = new_id
        self._room = float(BURST)
        self._filled_at = clock.monotonic()

    async def step(self) -> bool:
        """Take one batch; always wants to be called again at once, because pulling waits by itself."""
        messages = await self._puller.next_batch(WAIT_S)
        good: list[Pulled] = []
        bad: list[Pulled] = []
        rows: list[EventRow] = []
        over = 0
        self._fill()
        for message in messages:
            try:
                row = self._row(message.data)
                good.append(message)
                if self._room >= 1:
                    self._room -= 1
                    rows.append(row)
                else:
                    over += 1
            except WireError as error:
                _log.warning("gateway_event.refused", code=error.code, detail=error.detail)
                bad.append(message)
        if bad:
            told = "a gateway told what cannot be read"
            rows.append(self._event(Severity.WARNING, "gateway_event_refused", told, {}, len(bad)))
        if over:
            told = "gateways told more than is stored"
            rows.append(self._event(Severity.WARNING, "gateway_events_dropped", told, {}, over))
        if rows:
            async with self._maker() as session, session.begin():
                await write_events(session, rows)
        await self._puller.answer(good, ACK)
        await self._puller.answer(bad, TERM)
        return True

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._room = min(BURST, self._room + (now - self._filled_at) * RATE_PER_S)
        self._filled_at = now

    def _row(self, data: bytes) -> EventRow:
        if len(data) > EVENT_MAX_BYTES:
            raise WireError("too_large", f"more than {EVENT_MAX_BYTES} bytes")
        event = GatewayEvent.from_bytes(data)
        said = {**event.data, "gateway": event.gateway, "gateway_at": event.at.isoformat()}
        count = min(max(1, event.count), COUNT_MAX)
        return self._event(Severity(event.severity), event.code, event.message, said, count)

    def _event(
        self, severity: Severity, code: str, message: str, data: dict[str, Any], count: int
    ) -> EventRow:
        return EventRow(
            self._new_id(), self._clock.now(), severity, COMPONENT, code, message, None, data, count
        )
