"""Compare a running server with the definition.

It guarantees that nothing is changed, and that every stream, shared consumer, bucket and limit of the definition is
looked at: what is missing, what differs and what nobody defined all come back as a `Difference`.
"""

from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client

from redflag_broker_config import api
from redflag_broker_config.apply import consumer_label, stream_label
from redflag_broker_config.compare import Difference, compare
from redflag_broker_config.errors import ApiError
from redflag_broker_config.streams import (
    MAX_PAYLOAD_BYTES,
    Config,
    StreamDefinition,
    agent_consumer_config,
    definitions,
)
from redflag_broker_config.subjects import SHARDS, SubjectError, agent_of, stream_name

SERVER_MIN_VERSION = (2, 15)  # what the definition was tried against
AGENT_CONSUMERS_CHECKED = 1000  # per shard; a fault in their definition shows in the first of them

__all__ = ["Difference", "check", "compare_limits"]


async def check(nc: Client, replicas: int = 1, varz: Mapping[str, Any] | None = None) -> list[Difference]:
    """Return where the server differs from the definition; an empty list means it does not.

    Args:
        nc: a connection with the dispatcher's rights.
        replicas: as for `apply`.
        varz: what the monitoring endpoint answers on ``/varz``; with it, the settings that no client can ask for
            (sync to disk, authentication) are compared too.

    Raises:
        ApiError: the server refuses to tell.
        ApiTimeoutError: JetStream does not answer.
    """
    expected = definitions(replicas)
    differences = _server_limits(nc)
    if varz is not None:
        differences += compare_limits(varz)
    for definition in expected:
        differences += await _check_stream(nc, definition)
    for shard in range(SHARDS):
        differences += await _check_agent_consumers(nc, stream_name(shard))
    defined = {definition.name for definition in expected}
    async for name in api.names(nc, "STREAM.NAMES", "streams"):
        if name not in defined:
            differences.append(Difference(stream_label(name), "", "not defined", "there"))
    return differences


def compare_limits(varz: Mapping[str, Any]) -> list[Difference]:
    """Compare the server's own settings, as its monitoring endpoint tells them.

    Args:
        varz: the object ``/varz`` answers with.
    """
    jetstream = varz.get("jetstream", {}).get("config", {})
    found = {
        "auth_required": varz.get("auth_required", False),
        "max_payload": varz.get("max_payload"),
        "sync_always": jetstream.get("sync_always", False),
    }
    expected = {"auth_required": True, "max_payload": MAX_PAYLOAD_BYTES, "sync_always": True}
    return compare("server", expected, found)


def _server_limits(nc: Client) -> list[Difference]:
    differences = compare("server", {"max_payload": MAX_PAYLOAD_BYTES}, {"max_payload": nc.max_payload})
    version = nc.connected_server_version
    if (version.major, version.minor) < SERVER_MIN_VERSION:
        wanted = ".".join(str(part) for part in SERVER_MIN_VERSION)
        differences.append(Difference("server", "version", f"{wanted} or later", str(version)))
    return differences


async def _check_stream(nc: Client, definition: StreamDefinition) -> list[Difference]:
    label = stream_label(definition.name)
    info = await api.find(nc, f"STREAM.INFO.{definition.name}")
    if info is None:
        return [Difference(label, "", "there", "missing")]
    differences = compare(label, definition.config, info["config"])
    for consumer in definition.consumers:
        differences += await _check_consumer(nc, definition.name, consumer)
    if definition.consumers:
        known = {consumer["name"] for consumer in definition.consumers}
        async for name in api.names(nc, f"CONSUMER.NAMES.{definition.name}", "consumers"):
            if name not in known:
                differences.append(
                    Difference(consumer_label(definition.name, name), "", "not defined", "there")
                )
    return differences


async def _check_consumer(nc: Client, stream: str, config: Config) -> list[Difference]:
    label = consumer_label(stream, config["name"])
    info = await api.find(nc, f"CONSUMER.INFO.{stream}.{config['name']}")
    if info is None:
        return [Difference(label, "", "there", "missing")]
    return compare(label, config, info["config"])


async def _check_agent_consumers(nc: Client, stream: str) -> list[Difference]:
    """Compare the consumers of agents that exist right now; none at all is as good."""
    differences: list[Difference] = []
    seen = 0
    while seen < AGENT_CONSUMERS_CHECKED:
        try:
            page = await api.request(nc, f"CONSUMER.LIST.{stream}", {"offset": seen})
        except ApiError as error:
            if error.err_code == api.STREAM_NOT_FOUND:
                return differences  # said by the stream's own check
            raise
        consumers = page.get("consumers") or []
        for info in consumers:
            differences += _check_agent_consumer(stream, info)
        seen += len(consumers)
        if not consumers or seen >= page.get("total", 0):
            break
    return differences


def _check_agent_consumer(stream: str, info: Mapping[str, Any]) -> list[Difference]:
    label = consumer_label(stream, info["name"])
    try:
        agent = agent_of(info["config"].get("filter_subject", ""))
    except SubjectError:
        return [Difference(label, "", "not defined", "there")]
    return compare(label, agent_consumer_config(agent), {"name": info["name"], **info["config"]})
