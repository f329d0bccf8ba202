"""The long poll: what an agent gets when it asks for commands, and what its acknowledgements do.

Guarantees: an agent with nothing pending is answered without the broker; a wake-up that comes at any moment of a
poll is noticed; nothing acknowledged is handed out again by this gateway; the agent's consumer is removed when the
last command was acknowledged. See ARCHITECTURE.md 3 and 5.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakValueDictionary

from redflag_gateway.broker import Broker
from redflag_gateway.command_queue import REDELIVERY_S, CommandQueue, QueuedCommand
from redflag_gateway.errors import BrokerError, BusyError
from redflag_gateway.handles import Delivery, HandleRefusedError, Handles
from redflag_gateway.metrics import Metrics
from redflag_gateway.outgoing import Delivered, DeliveredLog
from redflag_gateway.parked import ParkedPolls, Woken
from redflag_gateway.pending import Need, PendingSet
from redflag_ops.logging import get_logger
from redflag_wire import strict_json
from redflag_wire.clock import Clock
from redflag_wire.envelope import parse_envelope
from redflag_wire.errors import WireError

CUT_SHORT_RETRY_S = 0.5  # after a pull that another gateway or the broker ended early
REFILL_SLICE = 200  # parked polls looked after at a time when the connection stands again
REFILL_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class HandedOut:
    """One command on its way to the agent.

    Attributes:
        envelope: the envelope's bytes, a JSON object.
        handle: what the agent acknowledges it with.
        command: the command's id as the dispatcher wrote it into the message id; for records.
        op: the correlation id inside, unverified; for records.
    """

    envelope: bytes
    handle: str
    command: str
    op: str | None


class Polls:
    """Serves polls and acknowledgements.

    Args:
        broker: the connection.
        queue: the agents' queues.
        pending: who has something pending.
        parked: where polls wait.
        handles: seals and opens handles.
        delivered: told of each delivery.
        clock: the time.
        metrics: where to count.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        queue: CommandQueue,
        pending: PendingSet,
        parked: ParkedPolls,
        handles: Handles,
        delivered: DeliveredLog,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._pending = pending
        self._parked = parked
        self._handles = handles
        self._delivered = delivered
        self._clock = clock
        self._metrics = metrics
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._refill_wanted = asyncio.Event()
        self._log = get_logger()
        broker.on_up(self._refill_wanted.set)
        broker.on_down(pending.doubt_all)

    async def poll(self, agent: UUID, wait_s: float) -> list[HandedOut]:
        """Return the agent's commands, waiting for the first for at most ``wait_s`` seconds.

        Raises:
            BrokerError: the broker had to be asked and could not.
            BusyError: too much is asked of the broker already.
        """
        place = self._parked.admit(agent)
        end = self._clock.monotonic() + wait_s
        try:
            while True:
                commands = await self._take(agent)
                now = self._clock.monotonic()
                if commands or now >= end or self._parked.crowded():
                    return commands
                due = self._pending.due_at(agent)
                woken = await self._parked.wait(place, (end if due is None else min(end, due)) - now)
                if woken in {Woken.REPLACED, Woken.STOP}:
                    return []
                place = self._parked.renew(agent, place)
        finally:
            self._parked.leave(agent, place)

    def wake(self, agent: UUID) -> None:
        """Note that an agent has something new."""
        self._pending.wake(agent, self._clock.monotonic())
        self._parked.wake(agent)

    async def acknowledge(self, agent: UUID, handles: Sequence[str]) -> int:
        """Acknowledge the deliveries the handles stand for; return how many the broker took.

        A handle that is not this agent's has no effect and is counted.

        Raises:
            BrokerError: the broker could not be asked; the handles stay good.
            BusyError: too much is asked of the broker already.
        """
        deliveries: list[Delivery] = []
        for handle in handles:
            try:
                deliveries.append(self._handles.open(agent, handle))
            except HandleRefusedError:
                self._metrics.handles_refused.inc()
                self._log.warning("handle.refused", agent=str(agent))
        if not deliveries:
            return 0
        async with self._lock(agent):
            version = self._pending.version(agent)
            acked = await self._queue.acknowledge(agent, deliveries)
            await self._settle(agent, version)
        return acked

    async def refill(self, stop: asyncio.Event) -> None:
        """Have parked polls look again after each (re)connection, a slice at a time; until ``stop``."""
        while not stop.is_set():
            await _either(stop, self._refill_wanted)
            self._refill_wanted.clear()
            waiting = self._parked.agents()
            for start in range(0, len(waiting), REFILL_SLICE):
                for agent in waiting[start : start + REFILL_SLICE]:
                    self._parked.wake(agent)
                await asyncio.sleep(REFILL_PAUSE_S)

    def _lock(self, agent: UUID) -> asyncio.Lock:
        return self._locks.setdefault(agent, asyncio.Lock())

    async def _take(self, agent: UUID) -> list[HandedOut]:
        if self._pending.need(agent, self._clock.monotonic()) is Need.NOTHING:
            return []
        async with self._lock(agent):
            need = self._pending.need(agent, self._clock.monotonic())
            if need is Need.NOTHING:
                return []
            if need is Need.CHECK:
                version = self._pending.doubt(agent, self._clock.monotonic())
                if not await self._queue.holds_something(agent):
                    self._pending.settle(agent, version)
                    return []
            return await self._pull(agent)

    async def _pull(self, agent: UUID) -> list[HandedOut]:
        version = self._pending.version(agent)
        pulled = await self._queue.pull(agent)
        now = self._clock.monotonic()
        if not pulled.whole:
            # A full batch leaves more behind it; a pull that was cut short does not know.
            self._pending.postpone(agent, version, now if pulled.commands else now + CUT_SHORT_RETRY_S)
        elif pulled.commands:
            self._pending.postpone(agent, version, now + REDELIVERY_S)
        else:
            await self._settle(agent, version)
        return [out for out in [await self._hand_out(agent, item) for item in pulled.commands] if out]

    async def _settle(self, agent: UUID, version: int) -> None:
        """Find out whether anything is left for the agent, and remove its consumer if not."""
        if await self._queue.holds_something(agent):
            # Delivered and not acknowledged yet, by whichever gateway: it can be pulled again after ack_wait.
            if version:
                self._pending.postpone(agent, version, self._clock.monotonic() + REDELIVERY_S)
        elif self._pending.settle(agent, version):
            try:
                await self._queue.remove_consumer(agent)
            except (BrokerError, BusyError) as error:
                # The broker removes it by itself after a few minutes without a pull.
                self._log.info("consumer.not_removed", agent=str(agent), reason=str(error))

    async def _hand_out(self, agent: UUID, queued: QueuedCommand) -> HandedOut | None:
        try:
            envelope = parse_envelope(queued.envelope)
        except WireError as error:
            # No agent could ever take it: left in the queue it would come back for ever.
            self._metrics.commands_unreadable.inc()
            self._log.warning("command.unreadable", agent=str(agent), code=error.code)
            await self._queue.discard(agent, queued.delivery)
            return None
        command, _, number = queued.message_id.rpartition(":")
        if command and number.isascii() and number.isdigit():
            self._delivered.add(Delivered(agent, command, int(number), self._clock.now()))
        self._metrics.commands_delivered.inc()
        handle = self._handles.seal(agent, queued.delivery)
        return HandedOut(queued.envelope, handle, command, _op_of(envelope.payload))


def _op_of(payload: bytes) -> str | None:
    """Read the correlation id out of a payload nobody has verified here; only records use it."""
    try:
        fields = strict_json.loads(payload)
    except WireError:
        return None
    op = fields.get("op") if isinstance(fields, dict) else None
    return op if isinstance(op, str) else None


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
