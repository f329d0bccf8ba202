"""Bring a server to the definition: create what is missing, update what differs, leave the rest alone.

It guarantees that a second run right after the first changes nothing, that nothing is ever deleted or purged, and
that what the server cannot change in place is reported instead of being forced.
"""

from dataclasses import dataclass, field

from nats.aio.client import Client

from redflag_broker_config import api
from redflag_broker_config.compare import Difference, compare
from redflag_broker_config.errors import ApiError
from redflag_broker_config.streams import Config, definitions


@dataclass(slots=True)
class Applied:
    """What a run did.

    Attributes:
        created: streams and consumers that were made, as ``stream NAME`` or ``consumer STREAM/NAME``.
        updated: those that were changed.
        refused: those that differ and that the server would not change, with its reason.
    """

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything on the server changed."""
        return bool(self.created or self.updated)


def stream_label(name: str) -> str:
    """Return how a stream is called in reports to people."""
    return f"stream {name}"


def consumer_label(stream: str, name: str) -> str:
    """Return how a consumer is called in reports to people."""
    return f"consumer {stream}/{name}"


async def apply(nc: Client, replicas: int = 1) -> Applied:
    """Create or update every stream, bucket and shared consumer.

    Args:
        nc: a connection with the dispatcher's rights.
        replicas: servers that hold each stream; 1 on a single server, 3 in a cluster.

    Raises:
        ApiError: the server refuses to create something.
        ApiTimeoutError: JetStream does not answer.
    """
    applied = Applied()
    for definition in definitions(replicas):
        await _apply_stream(nc, definition.config, applied)
        for consumer in definition.consumers:
            await _apply_consumer(nc, definition.name, consumer, applied)
    return applied


async def _apply_stream(nc: Client, config: Config, applied: Applied) -> None:
    name = config["name"]
    label = stream_label(name)
    info = await api.find(nc, f"STREAM.INFO.{name}")
    if info is None:
        await api.request(nc, f"STREAM.CREATE.{name}", config)
        applied.created.append(label)
        return
    differences = compare(label, config, info["config"])
    if differences:
        # Fields the definition does not name keep the value they have.
        await _update(nc, f"STREAM.UPDATE.{name}", {**info["config"], **config}, differences, applied)


async def _apply_consumer(nc: Client, stream: str, config: Config, applied: Applied) -> None:
    name = config["name"]
    label = consumer_label(stream, name)
    operation = f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
    info = await api.find(nc, f"CONSUMER.INFO.{stream}.{name}")
    if info is None:
        await api.request(nc, operation, {"stream_name": stream, "config": config, "action": "create"})
        applied.created.append(label)
        return
    differences = compare(label, config, info["config"])
    if differences:
        body = {"stream_name": stream, "config": {**info["config"], **config}, "action": "update"}
        await _update(nc, operation, body, differences, applied)


async def _update(
    nc: Client, operation: str, body: Config, differences: list[Difference], applied: Applied
) -> None:
    label = differences[0].where
    try:
        await api.request(nc, operation, body)
    except ApiError as error:
        applied.refused.append((label, error.description))
    else:
        applied.updated.append(label)
