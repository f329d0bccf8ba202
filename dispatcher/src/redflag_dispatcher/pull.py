"""Pulls batches from a shared durable consumer over one inbox subscription.

Guarantees: at most one pull request is open, so at most ``batch`` messages or ``max_bytes`` wait in memory; a
request the broker forgot (a lost connection) is made again when its life is over; a message is handed out once and
is acknowledged by the caller alone. The client's own ``fetch`` makes a request of its own per call and can stall.
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from redflag_wire.clock import Clock

BATCH = 1000  # messages
MAX_BYTES = 8 * 1024 * 1024  # of one request; four times the largest message
EXPIRES_S = 10.0  # life of a request
LATE_S = 2.0  # after its life the broker must have said so
GATHER_S = 0.005  # what a batch waits for company after its first message

REQUEST_OVER = "408"
REFUSED_PAUSE_S = 0.5  # before asking again a broker that had an answer but no messages

ACK = b"+ACK"
TERM = b"+TERM"
IN_PROGRESS = b"+WPI"


@dataclass(frozen=True, slots=True)
class Pulled:
    """A message of the stream.

    Attributes:
        subject: where it was published.
        headers: its headers.
        data: its bytes.
        reply: where to acknowledge it.
    """

    subject: str
    headers: dict[str, str]
    data: bytes
    reply: str


class Puller:
    """Pulls from one durable consumer.

    Args:
        nc: the connection.
        stream: name of the stream.
        consumer: name of the durable.
        clock: measures the life of requests.
        batch: most messages of one batch.
    """

    def __init__(self, nc: Client, stream: str, consumer: str, *, clock: Clock, batch: int = BATCH) -> None:
        self._nc = nc
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._clock = clock
        self._batch = batch
        self._inbox = nc.new_inbox()
        self._queue: deque[Pulled] = deque()
        self._arrived = asyncio.Event()
        self._open = 0  # messages the request may still bring
        self._over_at = 0.0  # monotonic; when the request is surely over
        self._not_before = 0.0  # monotonic; the next request's time
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe to the inbox."""
        self._subscription = await self._nc.subscribe(self._inbox, cb=self._on_message)

    async def stop(self) -> None:
        """Give the subscription back; what was not acknowledged is delivered again to somebody."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        if "Status" in headers:
            # 404 nothing, 408 over, 409 size or consumer gone, 503 no consumer: each ends the request.
            self._open = 0
            if headers["Status"] != REQUEST_OVER:
                self._not_before = self._clock.monotonic() + REFUSED_PAUSE_S
        else:
            self._open = max(0, self._open - 1)
            self._queue.append(Pulled(message.subject, dict(headers), message.data, message.reply))
        self._arrived.set()

    def ask_again(self) -> None:
        """Forget the open request: after a reconnection the broker has forgotten it too."""
        self._open = 0
        self._not_before = 0.0
        self._arrived.set()

    async def next_batch(self, wait_s: float) -> list[Pulled]:
        """Return the next messages, empty when none came within ``wait_s`` seconds.

        Raises:
            nats.errors.Error: the connection is closed.
        """
        deadline = self._clock.monotonic() + wait_s
        while not self._queue:
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                return []
            await self._request()
            self._arrived.clear()
            if not self._queue:
                pause = max(0.01, self._not_before - self._clock.monotonic()) if self._open == 0 else 1.0
                await self._wait(min(remaining, pause))
        await self._request()
        if len(self._queue) < self._batch:
            await asyncio.sleep(GATHER_S)
        return [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _request(self) -> None:
        now = self._clock.monotonic()
        if len(self._queue) >= self._batch or (self._open > 0 and now < self._over_at):
            return
        if now < self._not_before:
            return
        body = {"batch": self._batch, "max_bytes": MAX_BYTES, "expires": int(EXPIRES_S * 1e9)}
        self._open = self._batch
        self._over_at = now + EXPIRES_S + LATE_S
        await self._nc.publish(self._subject, json.dumps(body).encode(), reply=self._inbox)

    async def answer(self, messages: list[Pulled], word: bytes) -> None:
        """Acknowledge (``ACK``), give up (``TERM``) or ask for more time (``IN_PROGRESS``) for messages."""
        for message in messages:
            await self._nc.publish(message.reply, word)
