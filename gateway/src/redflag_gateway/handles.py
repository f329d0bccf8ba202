"""Handles: how an agent names a delivered command without naming a subject (docs/protocol.md 8.5).

Guarantees: only a handle that a gateway of this installation made for exactly this agent opens; the acknowledgement
subject is built from what is inside it together with the authenticated agent's own stream and consumer, never from
anything the agent wrote; and the handle tells which life of the consumer it belongs to, so that an acknowledgement
never reaches a message of another life (sequence numbers start again with a new store).
"""

import hashlib
import struct
from dataclasses import dataclass
from uuid import UUID

from redflag_broker_config.subjects import consumer_name, shard_of, stream_name
from redflag_gateway.shared_key import SharedKey, Use
from redflag_wire import base64_strict
from redflag_wire.errors import Base64RefusedError

_FIELDS = struct.Struct(">QQIqI8s")  # stream sequence, consumer sequence, deliveries, time, pending, life
_CODE_BYTES = 16
_ACK_TOKENS = 9  # $JS ACK stream consumer deliveries stream-seq consumer-seq time pending
_UINT32_MAX = 2**32 - 1
HANDLE_MAX_CHARS = 128


class HandleRefusedError(Exception):
    """The handle was not made for this agent by a gateway of this installation."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Which delivery of which message, from which life of the agent's consumer."""

    stream_seq: int
    consumer_seq: int
    deliveries: int
    time_ns: int
    pending: int
    life: bytes

    def ack_subject(self, agent: UUID) -> str:
        """Return the subject on which this delivery to this agent is acknowledged."""
        return (
            f"$JS.ACK.{stream_name(shard_of(agent))}.{consumer_name(agent)}"
            f".{self.deliveries}.{self.stream_seq}.{self.consumer_seq}.{self.time_ns}.{self.pending}"
        )


def life_of(created: str) -> bytes:
    """Return 8 bytes that stand for one life of a consumer, from the time the server says it was made."""
    return hashlib.sha256(created.encode()).digest()[:8]


def parse_delivery(reply: str, agent: UUID, life: bytes) -> Delivery:
    """Read a delivered message's reply subject, as the broker wrote it.

    Raises:
        ValueError: it is not the reply subject of a delivery to this agent.
    """
    tokens = reply.split(".")
    if len(tokens) != _ACK_TOKENS or tokens[:2] != ["$JS", "ACK"]:
        raise ValueError(reply)
    if tokens[2] != stream_name(shard_of(agent)) or tokens[3] != consumer_name(agent):
        raise ValueError(reply)
    deliveries, stream_seq, consumer_seq, time_ns, pending = (int(token) for token in tokens[4:])
    return Delivery(stream_seq, consumer_seq, min(deliveries, _UINT32_MAX), time_ns, pending, life)


class Handles:
    """Seals deliveries into handles and opens them.

    Args:
        key: shared by all gateways.
    """

    def __init__(self, key: SharedKey) -> None:
        self._key = key

    def seal(self, agent: UUID, delivery: Delivery) -> str:
        """Return the handle of a delivery to an agent."""
        fields = _FIELDS.pack(
            delivery.stream_seq,
            delivery.consumer_seq,
            delivery.deliveries,
            delivery.time_ns,
            min(delivery.pending, _UINT32_MAX),
            delivery.life,
        )
        return base64_strict.encode_url(fields + self._key.code(Use.HANDLE, _bound(agent, fields)))

    def open(self, agent: UUID, handle: str) -> Delivery:
        """Return the delivery a handle stands for.

        Raises:
            HandleRefusedError: it was not made for this agent, or is not a handle at all.
        """
        if len(handle) > HANDLE_MAX_CHARS:
            raise HandleRefusedError
        try:
            raw = base64_strict.decode_url(handle)
        except Base64RefusedError:
            raise HandleRefusedError from None
        fields, code = raw[:-_CODE_BYTES], raw[-_CODE_BYTES:]
        if len(fields) != _FIELDS.size or not self._key.fits(Use.HANDLE, _bound(agent, fields), code):
            raise HandleRefusedError
        return Delivery(*_FIELDS.unpack(fields))


def _bound(agent: UUID, fields: bytes) -> bytes:
    """Join what the code covers; every part has a fixed length or an end of its own."""
    names = f"{stream_name(shard_of(agent))}\n{consumer_name(agent)}\n"
    return agent.bytes + names.encode() + fields
