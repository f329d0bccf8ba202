"""What operators should know of this gateway, told to the dispatcher on ``rf.up.event.<n>``.

Guarantees: the broker has stored an event before it is forgotten here; equal ones are one with a count, and at most
``KINDS_MAX`` different ones wait, so nobody who knocks can fill memory or broker.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from redflag_broker_config.subjects import UpKind, up_subject
from redflag_gateway.broker import Broker
from redflag_gateway.errors import BrokerError, BusyError
from redflag_gateway.metrics import Metrics
from redflag_ops.build_info import Build
from redflag_ops.logging import get_logger
from redflag_wire.clock import Clock
from redflag_wire.gateway_event import GatewayEvent

KINDS_MAX = 64  # different events that wait to be told
EVERY_S = 5.0  # between two rounds of telling
SHARD = 0  # of no agent: all gateways' events are on one subject

Severity = Literal["info", "warning", "error"]


@dataclass(slots=True)
class _Kept:
    severity: Severity
    data: dict[str, Any]
    at: datetime
    count: int


class Events:
    """Keeps events until the broker has them.

    Args:
        broker: the connection.
        name: of this gateway: its origin.
        clock: the time.
        metrics: counts what is dropped.
    """

    def __init__(self, broker: Broker, name: str, clock: Clock, metrics: Metrics) -> None:
        self._broker = broker
        self._name = name
        self._clock = clock
        self._metrics = metrics
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lost_at: float | None = None
        self._log = get_logger()
        broker.on_down(self._on_down)
        broker.on_up(self._on_up)

    def note(
        self, severity: Severity, code: str, message: str, data: Mapping[str, Any] | None = None
    ) -> None:
        """Keep an event to be told; an equal one only counts, and its data are the ones kept."""
        held = self._kept.get((code, message))
        if held is not None:
            held.count += 1
            held.data = dict(data or {})
        elif len(self._kept) < KINDS_MAX:
            at = self._clock.now()
            whole_ms = at.replace(microsecond=at.microsecond // 1000 * 1000)
            self._kept[code, message] = _Kept(severity, dict(data or {}), whole_ms, 1)
        else:
            self._metrics.batches_lost.labels("event").inc()

    def started(self, release: str, build: Build | None) -> None:
        """Tell that this gateway runs, with what exactly runs."""
        data = {"version": release, "commit": None if build is None else build.commit}
        self.note("info", "started", f"gateway {release} started", data)

    def _on_down(self) -> None:
        if self._lost_at is None:
            self._lost_at = self._clock.monotonic()

    def _on_up(self) -> None:
        if self._lost_at is not None:
            seconds = round(self._clock.monotonic() - self._lost_at)
            self._lost_at = None
            message = "the connection to the broker was lost and stands again"
            self.note("warning", "broker_reconnected", message, {"away_s": seconds})

    async def run(self, stop: asyncio.Event) -> None:
        """Tell every ``EVERY_S`` seconds until ``stop``."""
        while not stop.is_set():
            await self.tell()
            try:
                await asyncio.wait_for(stop.wait(), EVERY_S)
            except TimeoutError:
                continue

    async def tell(self) -> None:
        """Tell what is kept; what the broker does not store now is kept for the next round."""
        if not self._broker.connected:
            return
        for key, kept in list(self._kept.items()):
            code, message = key
            count = kept.count
            event = GatewayEvent(
                gateway=self._name, at=kept.at, severity=kept.severity, code=code, message=message, count=count,
                data=kept.data,
            )  # fmt: skip
            try:
                await self._broker.store("event", up_subject(UpKind.EVENT, SHARD), event.to_bytes(), {})
            except (BrokerError, BusyError) as error:
                self._log.info("event.not_told", reason=str(error), code=code)
                return
            kept.count -= count  # what came while this one was stored is for the next round
            if kept.count == 0:
                del self._kept[key]
