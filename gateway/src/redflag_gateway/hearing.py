"""What the dispatcher tells all gateways: who has something new, and which reports are stored.

Guarantees: a message that cannot be read is counted and dropped; no message can make the gateway hold more than its
tables' bounds.
"""

import json
from collections.abc import Callable
from uuid import UUID

from nats.aio.msg import Msg

from redflag_broker_config.subjects import DONE_PREFIX, WAKE_PREFIX
from redflag_gateway.broker import Broker
from redflag_gateway.confirmed import Confirmed
from redflag_gateway.metrics import Metrics

RSEQ_LIMIT = 2**53


def parse_wake(data: bytes) -> list[UUID]:
    """Read a wake-up: a JSON list of agent ids in hex.

    Raises:
        ValueError: it is something else.
    """
    names = json.loads(data)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not a list of texts")
    return [UUID(hex=name) for name in names]


def parse_done(data: bytes) -> dict[UUID, int]:
    """Read a confirmation: a JSON object from agent id in hex to ``rseq``.

    Raises:
        ValueError: it is something else.
    """
    entries = json.loads(data)
    if not isinstance(entries, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for every form that does not fit
    if not all(type(rseq) is int and 0 <= rseq < RSEQ_LIMIT for rseq in entries.values()):
        raise ValueError("not numbers of reports")
    return {UUID(hex=name): rseq for name, rseq in entries.items()}


class Hearing:
    """Subscribes to wake-ups and confirmations.

    Args:
        broker: the connection; not running yet.
        wake: called for each agent that has something new.
        confirmed: told of stored reports.
        metrics: where to count.
    """

    def __init__(
        self, broker: Broker, wake: Callable[[UUID], None], confirmed: Confirmed, metrics: Metrics
    ) -> None:
        self._wake = wake
        self._confirmed = confirmed
        self._metrics = metrics
        broker.listen(f"{WAKE_PREFIX}.*", self._on_wake)
        broker.listen(f"{DONE_PREFIX}.*", self._on_done)

    async def _on_wake(self, message: Msg) -> None:
        try:
            agents = parse_wake(message.data)
        except ValueError:
            self._metrics.broker_messages_refused.labels("wake").inc()
            return
        self._metrics.wakes.inc(len(agents))
        for agent in agents:
            self._wake(agent)

    async def _on_done(self, message: Msg) -> None:
        try:
            entries = parse_done(message.data)
        except ValueError:
            self._metrics.broker_messages_refused.labels("done").inc()
            return
        for agent, rseq in entries.items():
            self._confirmed.note(agent, rseq)
