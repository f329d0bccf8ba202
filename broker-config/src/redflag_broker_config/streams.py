"""The streams, consumers and key-value buckets of the broker, as JetStream's own API writes them.

Each definition is the JSON object of the JetStream API (durations in nanoseconds), because the client's classes do
not know every field. It guarantees that each stream is bounded in bytes, age or messages and that its number of
consumers is set: nats-server limits a stream to 1000 consumers by default. Reasons and figures:
ARCHITECTURE.md 3.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redflag_broker_config.subjects import (
    BUCKETS,
    COMMAND_PREFIX,
    INGEST_DELIVERED,
    INGEST_EVENT,
    INGEST_REPORT,
    SHARDS,
    UP_PREFIX,
    UP_STREAM,
    UpKind,
    bucket_stream,
    bucket_subject,
    command_subject,
    consumer_name,
    stream_name,
)

Config = dict[str, Any]

NANOSECONDS = 1_000_000_000  # in a second; the API's unit of time

MAX_PAYLOAD_BYTES = (
    2 * 1024 * 1024
)  # the server's max_payload: a report's envelope and body (docs/protocol.md 6)

COMMANDS_PER_AGENT = 32  # messages; the backstop behind the 10 pending ones PostgreSQL allows
COMMAND_MAX_BYTES = 264 * 1024  # an envelope (256 KiB) and its headers
COMMAND_STREAM_MAX_BYTES = 256 * 1024 * 1024  # per shard: 300,000 pending commands of the usual 0.75 KiB
COMMAND_MAX_AGE_S = 48 * 3600  # twice the longest life of a command, for a message without a TTL of its own
COMMAND_MAX_CONSUMERS = 200_000  # per shard; agents with something in flight, not agents

AGENT_ACK_WAIT_S = 30  # an unacknowledged command is offered again after this
AGENT_INACTIVE_S = 180  # a consumer nobody pulls from goes away after this
AGENT_MAX_WAITING = 16  # pull requests; several gateways may ask for one agent

UP_MAX_BYTES = 2 * 1024 * 1024 * 1024  # then the gateway answers 503 and hosts resend
UP_MAX_AGE_S = 72 * 3600  # hosts resend what was never confirmed
UP_MAX_CONSUMERS = 16

INGEST_ACK_WAIT_S = 60  # a batch of a dispatcher that died is taken by another after this
INGEST_MAX_ACK_PENDING = 20_000  # messages; 20 batches in flight
INGEST_MAX_WAITING = 64

DUPLICATE_WINDOW_S = 120  # the broker swallows a repeated Nats-Msg-Id for this long

KV_VALUE_MAX_BYTES = 264 * 1024  # an envelope (256 KiB) and its headers
KV_MAX_BYTES = 64 * 1024 * 1024
KV_MAX_CONSUMERS = 1000  # one per gateway and bucket

FILE_STORE_MAX_BYTES = 16 * 1024 * 1024 * 1024  # more than all max_bytes above together
MEMORY_STORE_MAX_BYTES = 256 * 1024 * 1024  # memory-backed consumers are counted here


@dataclass(frozen=True, slots=True)
class StreamDefinition:
    """A stream and the consumers that always exist on it."""

    config: Config
    consumers: tuple[Config, ...] = ()

    @property
    def name(self) -> str:
        """The stream's name."""
        return str(self.config["name"])


def command_stream(shard: int, replicas: int = 1) -> Config:
    """Return the definition of a shard's command stream.

    Args:
        shard: 0 to ``SHARDS`` - 1.
        replicas: servers that hold each message; 1 on a single server, 3 in a cluster.
    """
    config: Config = {
        "name": stream_name(shard),
        "subjects": [f"{COMMAND_PREFIX}.{shard}.*"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": COMMANDS_PER_AGENT,
        "max_msgs": -1,
        "max_bytes": COMMAND_STREAM_MAX_BYTES,
        "max_age": COMMAND_MAX_AGE_S * NANOSECONDS,
        "max_msg_size": COMMAND_MAX_BYTES,
        "max_consumers": COMMAND_MAX_CONSUMERS,
        "duplicate_window": DUPLICATE_WINDOW_S * NANOSECONDS,
        "allow_direct": True,
        "allow_msg_ttl": True,
    }
    if replicas == 1:
        # Twelve times the publish rate under sync_interval: always. Refused on replicated streams.
        config["persist_mode"] = "async"
    return config


def up_stream(replicas: int = 1) -> Config:
    """Return the definition of the stream that carries what hosts send up."""
    return {
        "name": UP_STREAM,
        "subjects": [f"{UP_PREFIX}.*.*"],
        "retention": "workqueue",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_msgs_per_subject": -1,
        "max_msgs": -1,
        "max_bytes": UP_MAX_BYTES,
        "max_age": UP_MAX_AGE_S * NANOSECONDS,
        "max_msg_size": MAX_PAYLOAD_BYTES,
        "max_consumers": UP_MAX_CONSUMERS,
        "duplicate_window": DUPLICATE_WINDOW_S * NANOSECONDS,
        "allow_direct": True,
    }


def bucket_config(bucket: str, replicas: int = 1) -> Config:
    """Return the definition of the stream behind a key-value bucket that keeps one value per key."""
    return {
        "name": bucket_stream(bucket),
        "subjects": [bucket_subject(bucket, ">")],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_msgs": -1,
        "max_bytes": KV_MAX_BYTES,
        "max_age": 0,
        "max_msg_size": KV_VALUE_MAX_BYTES,
        "max_consumers": KV_MAX_CONSUMERS,
        "duplicate_window": DUPLICATE_WINDOW_S * NANOSECONDS,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }


def ingest_consumer(name: str, kind: UpKind) -> Config:
    """Return a shared durable pull consumer of the dispatchers on ``UP``."""
    return {
        "durable_name": name,
        "name": name,
        "filter_subject": f"{UP_PREFIX}.{kind}.*",
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": INGEST_ACK_WAIT_S * NANOSECONDS,
        "max_deliver": -1,
        "max_ack_pending": INGEST_MAX_ACK_PENDING,
        "max_waiting": INGEST_MAX_WAITING,
    }


def agent_consumer_config(agent: UUID) -> Config:
    """Return the durable consumer of one agent, which exists only while there is something to deliver.

    It lives in memory on one server: losing it costs one redelivery, and replicated ones are a Raft group each.
    Deliveries are counted in PostgreSQL, so ``max_deliver`` stays unlimited.
    """
    name = consumer_name(agent)
    return {
        "durable_name": name,
        "name": name,
        "filter_subject": command_subject(agent),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": AGENT_ACK_WAIT_S * NANOSECONDS,
        "max_deliver": -1,
        "max_ack_pending": 2 * COMMANDS_PER_AGENT,
        "max_waiting": AGENT_MAX_WAITING,
        "inactive_threshold": AGENT_INACTIVE_S * NANOSECONDS,
        "num_replicas": 1,
        "mem_storage": True,
    }


def definitions(replicas: int = 1) -> tuple[StreamDefinition, ...]:
    """Return everything that must exist on the broker: command streams, ``UP`` with its consumers, buckets."""
    ingest = (
        ingest_consumer(INGEST_REPORT, UpKind.REPORT),
        ingest_consumer(INGEST_DELIVERED, UpKind.DELIVERED),
        ingest_consumer(INGEST_EVENT, UpKind.EVENT),
    )
    return (
        *(StreamDefinition(command_stream(shard, replicas)) for shard in range(SHARDS)),
        StreamDefinition(up_stream(replicas), ingest),
        *(StreamDefinition(bucket_config(bucket, replicas)) for bucket in BUCKETS),
    )
