"""An agent's queue at the broker: pull, acknowledge, look, and the consumer that exists only meanwhile.

Guarantees: all pulls share one subscription (a delivered message carries its stream subject, so it is routed by the
agent in it; status messages come on the inbox and name agent and pull); one pull per agent at a time; what is
delivered to nobody is given back at once; an acknowledgement goes only to the life of the consumer that delivered.
See ARCHITECTURE.md 3.
"""

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from nats.aio.msg import Msg

from redflag_broker_config import api
from redflag_broker_config.streams import AGENT_ACK_WAIT_S, agent_consumer_config
from redflag_broker_config.subjects import (
    GATEWAY_INBOX,
    HEADER_MESSAGE_ID,
    SubjectError,
    agent_of,
    command_subject,
    consumer_name,
    shard_of,
    stream_name,
)
from redflag_gateway.broker import Broker
from redflag_gateway.errors import BrokerError, BrokerTimeoutError, NobodyAnswersError, NotStoredError
from redflag_gateway.handles import Delivery, life_of, parse_delivery
from redflag_gateway.metrics import Metrics
from redflag_ops.logging import get_logger

PULL_BATCH = 10  # commands in one answer; PostgreSQL allows an agent 10 pending
PULL_DEADLINE_S = 3.0  # for a pull that waits for nothing
REDELIVERY_S = AGENT_ACK_WAIT_S + 1.0  # after this an unacknowledged command can be pulled again
LIVES_MAX = 200_000  # consumers this gateway knows to exist
_PULL = json.dumps({"batch": PULL_BATCH, "no_wait": True}).encode()
_ACK = b"+ACK"
_GIVE_BACK = b"-NAK"
_NEVER_AGAIN = b"+TERM"
_NO_RESPONDERS = "503"
_WHOLE = frozenset({"404", "408"})  # nothing (more) there; a full batch ends without any status
_STATUS_HEADER = "Status"
_API = "$JS.API"


@dataclass(frozen=True, slots=True)
class QueuedCommand:
    """A command as it lies in the agent's queue.

    Attributes:
        envelope: the message's bytes; not yet looked at.
        message_id: ``<cmd>:<n>``, or empty.
        delivery: which delivery of it this is.
    """

    envelope: bytes
    message_id: str
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought.

    Attributes:
        commands: in the stream's order.
        whole: whether that was all there is to take now; otherwise the pull was cut short and is worth repeating.
    """

    commands: list[QueuedCommand]
    whole: bool


@dataclass(slots=True)
class _Pull:
    number: int
    ended: "asyncio.Future[str]"
    messages: list[Msg] = field(default_factory=list)


class CommandQueue:
    """The queues of all agents, through one connection.

    Args:
        broker: the connection.
        metrics: where to count.
    """

    def __init__(self, broker: Broker, metrics: Metrics) -> None:
        self._broker = broker
        self._metrics = metrics
        self._pulls: dict[UUID, _Pull] = {}
        self._number = 0
        self._inbox = f"{GATEWAY_INBOX}.{secrets.token_hex(8)}"
        self._lives: dict[UUID, bytes] = {}
        self._log = get_logger()
        broker.listen(f"{self._inbox}.*.*", self._on_message)
        broker.on_down(self._lives.clear)

    async def holds_something(self, agent: UUID) -> bool:
        """Say whether any command of the agent lies at the broker, delivered or not: one direct get.

        Raises:
            BrokerError: it could not be asked.
            BusyError: too many wait already.
        """
        subject = command_subject(agent)
        operation = f"{_API}.DIRECT.GET.{stream_name(shard_of(agent))}.{subject}"
        answer = await self._broker.request("look", operation)
        return not (answer.headers and _STATUS_HEADER in answer.headers)

    async def pull(self, agent: UUID) -> Pulled:
        """Take up to ``PULL_BATCH`` commands of the agent, making its consumer where there is none.

        The caller sees to it that only one pull of an agent is under way.

        Raises:
            BrokerError: the broker could not be asked.
            BusyError: too many wait already.
        """
        life = self._lives.get(agent) or await self._make_consumer(agent)
        status, messages = await self._pull_once(agent)
        if status == _NO_RESPONDERS:
            life = await self._make_consumer(agent)
            status, messages = await self._pull_once(agent)
        commands = [self._queued(agent, message, life) for message in messages]
        return Pulled(commands, whole=status in _WHOLE)

    async def _pull_once(self, agent: UUID) -> tuple[str, list[Msg]]:
        async with self._broker.slot("pull"):
            return await self._pull_in_slot(agent)

    async def _pull_in_slot(self, agent: UUID) -> tuple[str, list[Msg]]:
        self._number += 1
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        pull = self._pulls[agent] = _Pull(self._number, ended)
        subject = f"{_API}.CONSUMER.MSG.NEXT.{stream_name(shard_of(agent))}.{consumer_name(agent)}"
        taken = False
        try:
            await self._broker.publish(subject, _PULL, reply=f"{self._inbox}.{agent.hex}.{pull.number}")
            done, _ = await asyncio.wait({ended}, timeout=PULL_DEADLINE_S)
            if not done and not pull.messages:
                raise BrokerTimeoutError("pull")
            taken = True
            return (ended.result() if done else ""), pull.messages
        finally:
            if self._pulls.get(agent) is pull:
                del self._pulls[agent]
            if not taken:
                # The poll was cancelled (its client is gone) or failed: nobody will see these.
                for message in pull.messages:
                    await self._give_back(message)

    async def _on_message(self, message: Msg) -> None:
        if message.subject.startswith(self._inbox):
            self._on_status(message)
            return
        try:
            agent = agent_of(message.subject)
        except SubjectError:
            self._metrics.broker_messages_refused.labels("pull").inc()
            return
        pull = self._pulls.get(agent)
        if pull is None:
            await self._give_back(message)
            return
        pull.messages.append(message)
        if len(pull.messages) >= PULL_BATCH and not pull.ended.done():
            pull.ended.set_result("")

    def _on_status(self, message: Msg) -> None:
        digits, _, number = message.subject[len(self._inbox) + 1 :].partition(".")
        pull = self._pulls.get(UUID(hex=digits))
        if pull is not None and str(pull.number) == number and not pull.ended.done():
            pull.ended.set_result((message.headers or {}).get(_STATUS_HEADER, ""))

    async def _give_back(self, message: Msg) -> None:
        self._metrics.deliveries_strayed.inc()
        try:
            await self._broker.publish(message.reply, _GIVE_BACK)
        except BrokerError as error:
            # Unacknowledged, it is offered again after ack_wait anyway.
            self._log.info("delivery.give_back_failed", reason=str(error))

    def _queued(self, agent: UUID, message: Msg, life: bytes) -> QueuedCommand:
        message_id = (message.headers or {}).get(HEADER_MESSAGE_ID, "")
        return QueuedCommand(message.data, message_id, parse_delivery(message.reply, agent, life))

    async def discard(self, agent: UUID, delivery: Delivery) -> None:
        """Remove a message no agent could ever take.

        Raises:
            BrokerError: the broker could not be told.
        """
        await self._broker.publish(delivery.ack_subject(agent), _NEVER_AGAIN)

    async def acknowledge(self, agent: UUID, deliveries: list[Delivery]) -> int:
        """Acknowledge deliveries and wait until the broker has heard; return how many it took.

        What belongs to another life of the consumer is left out: it will be delivered again.

        Raises:
            BrokerError: the broker could not be asked.
            BusyError: too many wait already.
        """
        life = await self._find_life(agent)
        current = [delivery for delivery in deliveries if delivery.life == life]
        self._metrics.handles_ended.inc(len(deliveries) - len(current))
        acked = 0
        for outcome in await asyncio.gather(*(self._acknowledge(agent, delivery) for delivery in current)):
            acked += outcome
        self._metrics.acked.inc(acked)
        return acked

    async def _acknowledge(self, agent: UUID, delivery: Delivery) -> int:
        try:
            await self._broker.request("ack", delivery.ack_subject(agent), _ACK)
        except NobodyAnswersError:
            self._lives.pop(agent, None)
            return 0
        return 1

    async def remove_consumer(self, agent: UUID) -> None:
        """Remove the agent's consumer; one that is gone already is as good.

        Raises:
            BrokerError: the broker could not be asked.
            BusyError: too many wait already.
        """
        self._lives.pop(agent, None)
        operation = f"CONSUMER.DELETE.{stream_name(shard_of(agent))}.{consumer_name(agent)}"
        await self._api(operation)

    async def _make_consumer(self, agent: UUID) -> bytes:
        stream = stream_name(shard_of(agent))
        operation = f"CONSUMER.CREATE.{stream}.{consumer_name(agent)}.{command_subject(agent)}"
        body = {"stream_name": stream, "config": agent_consumer_config(agent), "action": ""}
        answer = await self._api(operation, json.dumps(body).encode())
        if "error" in answer:
            fault = answer["error"]
            raise NotStoredError(int(fault.get("err_code", 0)), str(fault.get("description", "")))
        return self._remember_life(agent, str(answer["created"]))

    async def _find_life(self, agent: UUID) -> bytes | None:
        known = self._lives.get(agent)
        if known is not None:
            return known
        answer = await self._api(f"CONSUMER.INFO.{stream_name(shard_of(agent))}.{consumer_name(agent)}")
        if "error" in answer:
            if answer["error"].get("code") == api.NOT_FOUND:
                return None
            raise BrokerTimeoutError(str(answer["error"].get("description", "")))
        return self._remember_life(agent, str(answer["created"]))

    def _remember_life(self, agent: UUID, created: str) -> bytes:
        if len(self._lives) >= LIVES_MAX:
            self._lives.clear()
        life = self._lives[agent] = life_of(created)
        return life

    async def _api(self, operation: str, body: bytes = b"") -> dict[str, Any]:
        answer = await self._broker.request(operation.partition(".")[0].lower(), f"{_API}.{operation}", body)
        decoded: dict[str, Any] = json.loads(answer.data)
        return decoded
