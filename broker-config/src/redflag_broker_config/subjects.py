"""Every name RedFlag uses on its broker, and how an agent's id becomes one.

It guarantees that a name is built in one place only: the streams, the permissions and the programs all take it
from here, so a name that one of them uses is a name the others know. See ARCHITECTURE.md 3.
"""

from enum import StrEnum
from uuid import UUID
from zlib import crc32

SHARDS = 16  # written at first start and never changed: it decides where an agent's messages lie

COMMAND_PREFIX = "rf.cmd"
UP_PREFIX = "rf.up"
PRESENCE_PREFIX = "rf.presence"
WAKE_PREFIX = "rf.wake"
DONE_PREFIX = "rf.done"
SERVICE_PREFIX = "rf.svc"

SERVICE_ENROLL = f"{SERVICE_PREFIX}.enroll"
SERVICE_RENEW = f"{SERVICE_PREFIX}.renew"
SERVICE_CONFIRM = f"{SERVICE_PREFIX}.confirm"
SERVICE_QUEUE = "auth"  # the queue group that answers the three above

GATEWAY_INBOX = "rf.inbox.gateway"
DISPATCHER_INBOX = "rf.inbox.dispatcher"

UP_STREAM = "UP"
INGEST_REPORT = "ingest-report"
INGEST_DELIVERED = "ingest-delivered"
INGEST_EVENT = "ingest-event"

KV_STATUS = "rf-status"
KV_BEACON = "rf-beacon"
KV_KEYS = "rf-keys"
BUCKETS = (KV_STATUS, KV_BEACON, KV_KEYS)

BEACON_KEY = "current"  # the one key of KV rf-beacon; its value is the beacon's envelope

HEADER_AGENT = "RF-Agent"  # on rf.up.report.<n>: the agent as the gateway authenticated it, 32 hex digits
HEADER_MESSAGE_ID = "Nats-Msg-Id"
HEADER_TTL = "Nats-TTL"

_AGENT_HEX_DIGITS = 32
_MANIFEST_KEY_PREFIX = "manifest."


class UpKind(StrEnum):
    """What comes up from hosts and gateways through the stream ``UP``; the subject's third token."""

    REPORT = "report"
    DELIVERED = "delivered"
    EVENT = "event"  # what a gateway tells of itself, on shard 0


class SubjectError(ValueError):
    """A subject, consumer name or key does not name what it should."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} does not name what was expected")
        self.text = text


def shard_of(agent: UUID) -> int:
    """Return the agent's shard, 0 to ``SHARDS`` - 1: crc32 of the id's 16 bytes modulo ``SHARDS``."""
    return crc32(agent.bytes) % SHARDS


def command_subject(agent: UUID) -> str:
    """Return the subject the agent's commands are published on."""
    return f"{COMMAND_PREFIX}.{shard_of(agent)}.{agent.hex}"


def agent_of(subject: str) -> UUID:
    """Return the agent a command subject belongs to.

    Raises:
        SubjectError: it is not the command subject of any agent, or names the wrong shard for it.
    """
    agent = _parse_agent(subject.rpartition(".")[2], subject)
    if command_subject(agent) != subject:
        raise SubjectError(subject)
    return agent


def _parse_agent(digits: str, whole: str) -> UUID:
    if len(digits) != _AGENT_HEX_DIGITS or not digits.isascii():
        raise SubjectError(whole)
    try:
        agent = UUID(hex=digits)
    except ValueError:
        raise SubjectError(whole) from None
    if agent.hex != digits:
        raise SubjectError(whole)
    return agent


def up_subject(kind: UpKind | str, shard: int) -> str:
    """Return the subject for what an agent of this shard sends up.

    Raises:
        ValueError: the kind is not one of ``UpKind``.
    """
    return f"{UP_PREFIX}.{UpKind(kind)}.{shard}"


def presence_subject(shard: int) -> str:
    """Return the subject on which gateways say which agents they have seen."""
    return f"{PRESENCE_PREFIX}.{shard}"


def wake_subject(shard: int) -> str:
    """Return the subject on which the dispatcher names agents that have something new."""
    return f"{WAKE_PREFIX}.{shard}"


def done_subject(shard: int) -> str:
    """Return the subject on which the dispatcher confirms stored reports."""
    return f"{DONE_PREFIX}.{shard}"


def stream_name(shard: int) -> str:
    """Return the name of the stream that holds this shard's commands."""
    return f"CMD-{shard}"


def consumer_name(agent: UUID) -> str:
    """Return the name of the agent's durable consumer."""
    return f"a-{agent.hex}"


def bucket_stream(bucket: str) -> str:
    """Return the stream behind a key-value bucket."""
    return f"KV_{bucket}"


def bucket_subject(bucket: str, key: str) -> str:
    """Return the subject of a key in a bucket; ``>`` stands for all keys."""
    return f"$KV.{bucket}.{key}"


def manifest_key(version: int) -> str:
    """Return the key in KV rf-keys under which this version of the manifest's envelope is stored."""
    return f"{_MANIFEST_KEY_PREFIX}{version}"


def manifest_version_of(key: str) -> int:
    """Return the version a key of KV rf-keys stands for.

    Raises:
        SubjectError: it is not such a key.
    """
    digits = key.removeprefix(_MANIFEST_KEY_PREFIX)
    if not (digits.isascii() and digits.isdigit()) or manifest_key(int(digits)) != key:
        raise SubjectError(key)
    return int(digits)


def status_key(agent: UUID) -> str:
    """Return the agent's key in KV rf-status; the value is the plain word ``revoked`` or ``quarantined``."""
    return agent.hex


def agent_of_status_key(key: str) -> UUID:
    """Return the agent a key of KV rf-status stands for.

    Raises:
        SubjectError: it is not such a key.
    """
    return _parse_agent(key, key)
