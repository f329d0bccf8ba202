"""What a gateway tells of itself reaches the stream, once, and counts what comes again."""

import json

from prometheus_client import CollectorRegistry

from redflag_broker_config.subjects import UP_STREAM, UpKind, up_subject
from redflag_gateway.errors import BrokerAwayError
from redflag_gateway.events import KINDS_MAX, Events
from redflag_gateway.metrics import Metrics
from redflag_wire.clock import SystemClock
from redflag_wire.gateway_event import GatewayEvent
from tests.integration.gateway.conftest import Bench, RunningGateway


class BrokerDouble:
    """Stores what it is told to, or is away."""

    def __init__(self) -> None:
        self.connected = True
        self.away = False
        self.stored: list[dict[str, object]] = []

    def on_up(self, notice: object) -> None: ...

    def on_down(self, notice: object) -> None: ...

    async def store(self, _operation: str, subject: str, payload: bytes, _headers: dict[str, str]) -> None:
        if self.away:
            raise BrokerAwayError("away")
        assert subject == "rf.up.event.0"
        self.stored.append(json.loads(payload))


async def test_a_start_is_told_to_the_stream(bench: Bench, gateway: RunningGateway) -> None:
    gateway.gateway.events.started("0.1.0", None)
    await gateway.gateway.events.tell()
    subject = up_subject(UpKind.EVENT, 0)
    found = await bench.dispatcher.nc.jetstream().get_last_msg(UP_STREAM, subject)
    event = GatewayEvent.from_bytes(found.data or b"")
    assert (event.code, event.severity, event.gateway) == ("started", "info", gateway.origin)


async def test_events_are_counted_bounded_and_kept_while_the_broker_is_away() -> None:
    broker = BrokerDouble()
    events = Events(broker, "http://gw", SystemClock(), Metrics(CollectorRegistry()))  # type: ignore[arg-type]
    broker.away = True
    for n in range(5):
        events.note("warning", "head_too_large", "a head was too large", {"n": n})
    for n in range(2 * KINDS_MAX):
        events.note("warning", f"code_{n}", "text")
    await events.tell()
    broker.away = False
    await events.tell()
    await events.tell()
    assert len(broker.stored) == KINDS_MAX
    first = broker.stored[0]
    assert (first["code"], first["count"], first["data"]) == ("head_too_large", 5, {"n": 4})
