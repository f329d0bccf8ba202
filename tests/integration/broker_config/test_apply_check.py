import asyncio
import json
import urllib.request
from uuid import UUID

import pytest
from nats.aio.client import Client

from redflag_broker_config import api
from redflag_broker_config.apply import apply
from redflag_broker_config.check import Difference, check
from redflag_broker_config.connect import connect
from redflag_broker_config.errors import ApiError, BrokerUnreachableError
from redflag_broker_config.streams import agent_consumer_config, command_stream
from redflag_broker_config.subjects import BUCKETS, SHARDS, command_subject, shard_of, stream_name
from tests.integration.broker_config.local_server import LocalServer

AGENT = UUID("0199c0de-0000-7000-8000-000000000001")


def _varz(server: LocalServer) -> dict[str, object]:
    with urllib.request.urlopen(server.monitor_url + "/varz", timeout=5) as answer:
        varz: dict[str, object] = json.loads(answer.read())
    return varz


async def test_apply_creates_everything_then_changes_nothing(server: LocalServer) -> None:
    client = await server.connect("dispatcher")
    first = await apply(client)
    second = await apply(client)
    # The command streams, UP with its three consumers, the buckets.
    assert len(first.created) == SHARDS + 1 + 3 + len(BUCKETS)
    assert not first.updated
    assert not second.changed
    assert not second.refused
    assert await check(client, varz=await asyncio.to_thread(_varz, server)) == []
    await client.close()


async def test_apply_repairs_a_changed_stream(dispatcher: Client) -> None:
    changed = {**command_stream(5), "max_msgs_per_subject": 7}
    await api.request(dispatcher, "STREAM.UPDATE.CMD-5", changed)
    applied = await apply(dispatcher)
    assert applied.updated == ["stream CMD-5"]
    assert await check(dispatcher) == []


async def test_check_finds_planted_differences(dispatcher: Client) -> None:
    await api.request(dispatcher, "STREAM.UPDATE.CMD-5", {**command_stream(5), "max_msgs_per_subject": 7})
    await api.request(dispatcher, "STREAM.DELETE.KV_rf-keys")
    await api.request(dispatcher, "CONSUMER.DELETE.UP.ingest-report")
    await api.request(dispatcher, "STREAM.CREATE.FOREIGN", {"name": "FOREIGN", "subjects": ["x.>"]})
    assert await check(dispatcher) == [
        Difference("stream CMD-5", "max_msgs_per_subject", 32, 7),
        Difference("consumer UP/ingest-report", "", "there", "missing"),
        Difference("stream KV_rf-keys", "", "there", "missing"),
        Difference("stream FOREIGN", "", "not defined", "there"),
    ]


async def test_check_finds_an_agent_consumer_with_other_settings(dispatcher: Client) -> None:
    config = {**agent_consumer_config(AGENT), "ack_wait": 1_000_000_000}
    stream = stream_name(shard_of(AGENT))
    operation = f"CONSUMER.CREATE.{stream}.{config['name']}.{config['filter_subject']}"
    await api.request(dispatcher, operation, {"stream_name": stream, "config": config})
    assert [difference.field for difference in await check(dispatcher)] == ["ack_wait"]


async def test_persist_mode_cannot_be_changed_in_place(server: LocalServer) -> None:
    client = await server.connect("dispatcher")
    synchronous = command_stream(0)
    del synchronous["persist_mode"]
    await api.request(client, "STREAM.CREATE.CMD-0", synchronous)
    applied = await apply(client)
    assert [label for label, _reason in applied.refused] == ["stream CMD-0"]
    assert await check(client) == [Difference("stream CMD-0", "persist_mode", "async", "default")]
    await client.close()


async def test_command_stream_refuses_the_message_over_the_limit_of_one_agent(dispatcher: Client) -> None:
    js = dispatcher.jetstream()
    for number in range(32):
        await js.publish(
            command_subject(AGENT), b"x", headers={"Nats-Msg-Id": f"{number}", "Nats-TTL": "60s"}
        )
    with pytest.raises(Exception, match="10077"):
        await js.publish(command_subject(AGENT), b"x", headers={"Nats-TTL": "60s"})


async def test_a_bucket_works_through_the_client_library(dispatcher: Client) -> None:
    bucket = await dispatcher.jetstream().key_value("rf-status")
    await bucket.put(AGENT.hex, b"revoked")
    assert (await bucket.get(AGENT.hex)).value == b"revoked"
    await bucket.delete(AGENT.hex)


async def test_connect_gives_up_at_its_deadline_when_nobody_is_there(server: LocalServer) -> None:
    server.stop()

    async def ignore(_error: Exception) -> None:
        return

    with pytest.raises(BrokerUnreachableError):
        await connect(
            server.url, server.seed_path("gateway"), "gateway", "t", on_error=ignore, deadline_s=0.5
        )


async def test_api_error_carries_the_number_of_the_error(dispatcher: Client) -> None:
    with pytest.raises(ApiError) as caught:
        await api.request(dispatcher, "STREAM.INFO.NOPE")
    assert caught.value.err_code == api.STREAM_NOT_FOUND
