"""Watches one key-value bucket of the broker and never misses a change for long.

Guarantees: the handler gets the last value of every key first and every change after it, in the broker's order; a
gap, a silence longer than three heartbeats, a lost connection or a bucket that does not exist yet lead to a fresh
start, which tells every key again. Entries that vanish without a deletion are not reported: absence proves nothing
after the broker lost its store.
"""

import asyncio
import json
import secrets
from collections.abc import Callable

import nats.errors
from nats.aio.msg import Msg

from redflag_broker_config.streams import NANOSECONDS
from redflag_broker_config.subjects import bucket_stream, bucket_subject
from redflag_gateway.broker import Broker
from redflag_gateway.errors import BrokerAwayError, BrokerError, BrokerTimeoutError, BusyError
from redflag_ops.logging import get_logger

HEARTBEAT_S = 5.0  # the broker speaks at least this often
SILENCE_MAX_S = 3 * HEARTBEAT_S
INACTIVE_S = 60  # the broker forgets a watch nobody listens to after this
RETRY_FIRST_S = 0.25  # before the second attempt; doubled up to the last
RETRY_LAST_S = 5.0
QUEUE_MAX = 10_000  # messages that wait for the handler
_HEARTBEAT_STATUS = "100"
_DELETIONS = frozenset({"DEL", "PURGE"})
_CONSUMER_SEQ_TOKEN = (
    6  # of $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>
)

OnEntry = Callable[[str, bytes | None], None]
"""Takes a key and its value; None for a deletion."""


class WatchGapError(BrokerError):
    """The watch missed something, or heard nothing for too long."""


class BucketWatch:
    """One watch.

    Args:
        broker: the connection.
        bucket: the bucket's name.
        on_entry: called for each entry; must not raise.
    """

    def __init__(self, broker: Broker, bucket: str, on_entry: OnEntry) -> None:
        self._broker = broker
        self._bucket = bucket
        self._on_entry = on_entry
        self._changed = asyncio.Event()
        self._loaded = False
        self._log = get_logger(bucket=bucket)
        broker.on_up(self._changed.set)
        broker.on_down(self._changed.set)

    @property
    def loaded(self) -> bool:
        """Whether every key the bucket held at the start was told once."""
        return self._loaded

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until ``stop`` is set."""
        retry = RETRY_FIRST_S
        while not stop.is_set():
            self._changed.clear()
            if self._broker.connected:
                try:
                    await self._watch(stop)
                    retry = RETRY_FIRST_S
                except (BrokerError, BusyError, nats.errors.Error) as error:
                    self._log.info("watch.restarts", reason=str(error))
            await self._pause(stop, retry)
            retry = min(2 * retry, RETRY_LAST_S)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait a while; a change of the connection or the stop end it early."""
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._changed.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _watch(self, stop: asyncio.Event) -> None:
        client = self._broker.require()
        inbox = client.new_inbox()
        queue: asyncio.Queue[Msg | None] = asyncio.Queue(QUEUE_MAX)

        async def on_message(message: Msg) -> None:
            await queue.put(message)

        async def on_event() -> None:
            waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._changed.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            await queue.put(None)

        subscription = await client.subscribe(inbox, cb=on_message)
        event = asyncio.create_task(on_event())
        try:
            await self._follow(queue, await self._make_consumer(inbox))
        finally:
            event.cancel()
            if client.is_connected:
                await subscription.unsubscribe()

    async def _make_consumer(self, inbox: str) -> int:
        """Make the broker deliver to the inbox; return how many entries it will tell first."""
        stream = bucket_stream(self._bucket)
        name = f"watch-{secrets.token_hex(8)}"
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": bucket_subject(self._bucket, ">"),
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * NANOSECONDS,
            "idle_heartbeat": int(HEARTBEAT_S * NANOSECONDS),
        }
        operation = f"$JS.API.CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
        body = json.dumps({"stream_name": stream, "config": config, "action": "create"}).encode()
        answer = json.loads((await self._broker.request("watch", operation, body)).data)
        if "error" in answer:
            raise BrokerTimeoutError(str(answer["error"].get("description", "")))
        return int(answer.get("num_pending", 0)) + int(answer["delivered"]["consumer_seq"])

    async def _follow(self, queue: "asyncio.Queue[Msg | None]", first: int) -> None:
        seq = 0
        self._loaded = self._loaded or first == 0
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), SILENCE_MAX_S)
            except TimeoutError:
                raise WatchGapError("silence") from None
            if message is None:
                if not self._broker.connected:
                    raise BrokerAwayError("the connection was lost")
                return
            headers = message.headers or {}
            if headers.get("Status") == _HEARTBEAT_STATUS:
                if int(headers.get("Nats-Last-Consumer", "0")) != seq:
                    raise WatchGapError("a heartbeat names an entry that did not come")
                continue
            seq += 1
            if int(message.reply.split(".")[_CONSUMER_SEQ_TOKEN]) != seq:
                raise WatchGapError("an entry is missing")
            self._tell(message, headers)
            self._loaded = self._loaded or seq >= first

    def _tell(self, message: Msg, headers: dict[str, str]) -> None:
        key = message.subject.removeprefix(bucket_subject(self._bucket, ""))
        deleted = headers.get("KV-Operation") in _DELETIONS or "Nats-Marker-Reason" in headers
        self._on_entry(key, None if deleted else message.data)
