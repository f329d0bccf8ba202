"""Loops that tell the dispatcher what was delivered and who was seen (ARCHITECTURE.md 3).

Guarantees: deliveries are stored by the broker before they are forgotten here, or come back into the bounded log;
presence is told without storing, the newest word is enough.
"""

import asyncio
import json

from redflag_broker_config.subjects import UpKind, presence_subject, up_subject
from redflag_gateway.broker import Broker
from redflag_gateway.errors import BrokerError, BusyError
from redflag_gateway.metrics import Metrics
from redflag_gateway.outgoing import DeliveredLog, Presence
from redflag_ops.logging import get_logger

DELIVERED_EVERY_S = 0.25
DELIVERED_RETRY_MAX_S = 8.0  # between attempts while the broker does not store; doubled up to this
PRESENCE_EVERY_S = 5.0


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class Telling:
    """Tells deliveries and presence.

    Args:
        broker: the connection.
        delivered: deliveries that wait to be told.
        presence: agents seen.
        metrics: where to count.
    """

    def __init__(self, broker: Broker, delivered: DeliveredLog, presence: Presence, metrics: Metrics) -> None:
        self._broker = broker
        self._delivered = delivered
        self._presence = presence
        self._metrics = metrics
        self._log = get_logger()

    async def tell_deliveries(self, stop: asyncio.Event) -> None:
        """Tell deliveries every ``DELIVERED_EVERY_S`` seconds until ``stop``, and once more then."""
        pause = DELIVERED_EVERY_S
        while not stop.is_set():
            await _pause(stop, pause)
            told = await self._tell_deliveries()
            pause = DELIVERED_EVERY_S if told else min(2 * pause, DELIVERED_RETRY_MAX_S)

    async def _tell_deliveries(self) -> bool:
        dropped, told = self._delivered.dropped, True
        if not len(self._delivered) or not self._broker.connected:
            return True
        for shard, entries in self._delivered.take().items():
            payload = json.dumps([entry.to_json() for entry in entries]).encode()
            try:
                await self._broker.store("delivered", up_subject(UpKind.DELIVERED, shard), payload, {})
            except (BrokerError, BusyError) as error:
                self._log.info("delivered.not_told", reason=str(error), entries=len(entries))
                self._delivered.put_back(entries)
                told = False
        self._metrics.batches_lost.labels("delivered").inc(self._delivered.dropped - dropped)
        return told

    async def tell_last(self) -> None:
        """Tell what came up while the gateway stopped."""
        await self._tell_deliveries()

    async def tell_presence(self, stop: asyncio.Event) -> None:
        """Tell who was seen every ``PRESENCE_EVERY_S`` seconds until ``stop``, and once more then."""
        while not stop.is_set():
            await _pause(stop, PRESENCE_EVERY_S)
            if not self._broker.connected:
                continue
            for shard, seen in self._presence.take():
                try:
                    await self._broker.publish(presence_subject(shard), json.dumps(seen).encode())
                except BrokerError as error:
                    self._metrics.batches_lost.labels("presence").inc(len(seen))
                    self._log.info("presence.not_told", reason=str(error), agents=len(seen))
