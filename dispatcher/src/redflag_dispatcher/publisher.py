"""Publishes many messages at once and counts their PubAcks on one subscription.

One request per message costs twenty times the client's time (ARCHITECTURE.md 3). A batch gets reply subjects
``<inbox>.<batch>.<index>``; the batch ends when every answer is in or its deadline passed. Guarantees: one result
for each message, in order; what had no answer in time is a ``PublishError`` with code 0, and whether the broker
stored it is then unknown.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from redflag_dispatcher.errors import PublishError
from redflag_dispatcher.publish_rules import PubAck, parse_answer

BATCH_DEADLINE_S = 10.0  # for all answers of one batch


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Batch:
    results: list[PubAck | PublishError | None]
    missing: int
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Publisher:
    """Pipelined publishing over one connection.

    Args:
        nc: the connection; its inbox prefix is the dispatcher's.
        deadline_s: seconds for all answers of one batch.
    """

    def __init__(self, nc: Client, *, deadline_s: float = BATCH_DEADLINE_S) -> None:
        self._nc = nc
        self._deadline_s = deadline_s
        self._inbox = nc.new_inbox()
        self._batches: dict[str, _Batch] = {}
        self._next = 0
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe to the answers."""
        self._subscription = await self._nc.subscribe(f"{self._inbox}.*.*", cb=self._on_answer)

    async def stop(self) -> None:
        """Give the subscription back."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    async def _on_answer(self, message: Msg) -> None:
        _, batch_id, index = message.subject.rsplit(".", 2)
        batch = self._batches.get(batch_id)
        if batch is None:
            return  # its deadline passed
        at = int(index)
        if batch.results[at] is None:
            batch.results[at] = parse_answer(message.data, message.headers)
            batch.missing -= 1
            if batch.missing == 0:
                batch.done.set()

    async def publish(self, messages: Sequence[Outgoing]) -> list[PubAck | PublishError]:
        """Publish a batch; return what the broker said to each message.

        Raises:
            nats.errors.Error: the connection is closed or its buffer is full.
        """
        if not messages:
            return []
        self._next += 1
        batch_id = str(self._next)
        batch = _Batch([None] * len(messages), len(messages))
        self._batches[batch_id] = batch
        try:
            async with asyncio.timeout(self._deadline_s):
                for index, message in enumerate(messages):
                    await self._nc.publish(
                        message.subject,
                        message.payload,
                        reply=f"{self._inbox}.{batch_id}.{index}",
                        headers=dict(message.headers),
                    )
                await batch.done.wait()
        except TimeoutError:
            pass  # what is missing is said below, message by message
        finally:
            del self._batches[batch_id]
        return [
            PublishError(0, f"no answer within {self._deadline_s:g} s") if result is None else result
            for result in batch.results
        ]
