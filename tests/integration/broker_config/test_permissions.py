"""The run-time form of the import rules: what the broker itself lets the gateway's credentials do."""

import asyncio
import json
from uuid import UUID

import nats.errors
import pytest
from nats.aio.client import Client

from redflag_broker_config import api
from redflag_broker_config.errors import ApiError, BrokerUnreachableError
from redflag_broker_config.streams import agent_consumer_config
from redflag_broker_config.subjects import (
    BUCKETS,
    SHARDS,
    bucket_stream,
    bucket_subject,
    command_subject,
    consumer_name,
    presence_subject,
    shard_of,
    stream_name,
    up_subject,
    wake_subject,
)
from tests.integration.broker_config.local_server import LocalServer

AGENT = UUID("0199c0de-0000-7000-8000-000000000001")
STREAM = stream_name(shard_of(AGENT))
NAME = consumer_name(AGENT)

FORBIDDEN_TO_PUBLISH = [
    command_subject(AGENT),
    "rf.cmd.0.x",
    wake_subject(0),
    "rf.done.0",
    "rf.inbox.dispatcher.x",
    "_INBOX.x",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.NEW",
    f"$JS.API.STREAM.INFO.{STREAM}",
    f"$JS.API.STREAM.UPDATE.{STREAM}",
    f"$JS.API.STREAM.DELETE.{STREAM}",
    f"$JS.API.STREAM.PURGE.{STREAM}",
    f"$JS.API.STREAM.MSG.DELETE.{STREAM}",
    f"$JS.API.STREAM.MSG.GET.{STREAM}",
    f"$JS.API.DIRECT.GET.{STREAM}",
    f"$JS.API.CONSUMER.CREATE.{STREAM}",
    f"$JS.API.CONSUMER.CREATE.{STREAM}.{NAME}",
    f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{NAME}",
    f"$JS.API.CONSUMER.LIST.{STREAM}",
    f"$JS.API.CONSUMER.CREATE.{STREAM}.all.rf.cmd.>",
    "$JS.API.CONSUMER.CREATE.UP.mine.rf.up.report.*",
    "$JS.API.CONSUMER.MSG.NEXT.UP.ingest-report",
    "$JS.API.CONSUMER.DELETE.UP.ingest-report",
    "$JS.ACK.UP.ingest-report.1.1.1.1.1",
    "$KV.rf-status.x",
    "$KV.rf-keys.manifest.1",
    "$KV.rf-beacon.current",
    *(f"$JS.API.STREAM.PURGE.{bucket_stream(bucket)}" for bucket in BUCKETS),
    "$SYS.REQ.SERVER.PING",
    "$JS.FC.x",
]

FORBIDDEN_TO_SUBSCRIBE = [
    "rf.cmd.>",
    command_subject(AGENT),
    "rf.up.>",
    "rf.svc.>",
    "rf.presence.*",
    "rf.inbox.dispatcher.>",
    "rf.inbox.>",
    "_INBOX.>",
    "$JS.>",
    "$KV.>",
    "$SYS.>",
    ">",
    "*",
]


async def _next_error(server: LocalServer, client: Client) -> str:
    await client.flush()
    async with asyncio.timeout(5):
        return str(await server.errors.get()).lower()  # the client library writes it in lower case


@pytest.mark.parametrize("subject", FORBIDDEN_TO_PUBLISH)
async def test_gateway_publish_is_refused_by_the_broker(
    server: LocalServer, gateway: Client, subject: str
) -> None:
    await gateway.publish(subject, b"{}")
    text = await _next_error(server, gateway)
    assert "permissions violation for publish" in text
    assert subject.lower() in text
    assert server.errors.empty()


@pytest.mark.parametrize("subject", FORBIDDEN_TO_SUBSCRIBE)
async def test_gateway_subscription_is_refused_by_the_broker(
    server: LocalServer, gateway: Client, subject: str
) -> None:
    await gateway.subscribe(subject)
    text = await _next_error(server, gateway)
    assert "permissions violation for subscription" in text
    assert subject.lower() in text
    assert server.errors.empty()


async def test_gateway_command_is_not_stored(
    server: LocalServer, gateway: Client, dispatcher: Client
) -> None:
    with pytest.raises((TimeoutError, nats.errors.Error)):
        await gateway.request(command_subject(AGENT), b"forged", timeout=0.3)
    info = await api.request(dispatcher, f"STREAM.INFO.{STREAM}")
    assert info["state"]["messages"] == 0
    assert "permissions violation" in await _next_error(server, gateway)


async def test_gateway_may_do_its_work(server: LocalServer, gateway: Client, dispatcher: Client) -> None:
    await dispatcher.jetstream().publish(command_subject(AGENT), b"command")
    config = agent_consumer_config(AGENT)
    body = {"stream_name": STREAM, "config": config, "action": "create"}
    await api.request(gateway, f"CONSUMER.CREATE.{STREAM}.{NAME}.{command_subject(AGENT)}", body)
    await api.request(gateway, f"CONSUMER.INFO.{STREAM}.{NAME}")
    direct = await gateway.request(f"$JS.API.DIRECT.GET.{STREAM}.{command_subject(AGENT)}", timeout=5)
    assert direct.data == b"command"
    inbox = gateway.new_inbox()
    delivered = await gateway.subscribe(inbox)
    pull = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{NAME}"
    await gateway.publish(pull, b'{"batch":1,"no_wait":true}', reply=inbox)
    pulled = await delivered.next_msg(timeout=5)
    assert (pulled.data, pulled.subject) == (b"command", command_subject(AGENT))
    await gateway.request(pulled.reply, b"+ACK", timeout=5)
    await api.request(gateway, f"CONSUMER.DELETE.{STREAM}.{NAME}")
    stored = json.loads((await gateway.request(up_subject("report", 3), b"r", timeout=5)).data)
    assert stored["stream"] == "UP"
    await gateway.publish(presence_subject(3), b"{}")
    await gateway.subscribe("rf.wake.*")
    await gateway.subscribe("rf.done.*")
    await gateway.flush()
    assert server.errors.empty()


@pytest.mark.parametrize("bucket", BUCKETS)
async def test_gateway_may_watch_a_bucket(
    server: LocalServer, gateway: Client, dispatcher: Client, bucket: str
) -> None:
    await dispatcher.jetstream().publish(bucket_subject(bucket, "key"), b"value")
    inbox = gateway.new_inbox()
    subscription = await gateway.subscribe(inbox)
    config = {
        "name": "watch",
        "deliver_subject": inbox,
        "deliver_policy": "last_per_subject",
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 60_000_000_000,
        "filter_subject": bucket_subject(bucket, ">"),
    }
    stream = bucket_stream(bucket)
    operation = f"CONSUMER.CREATE.{stream}.watch.{bucket_subject(bucket, '>')}"
    await api.request(gateway, operation, {"stream_name": stream, "config": config})
    assert (await subscription.next_msg(timeout=5)).data == b"value"
    assert server.errors.empty()


async def test_gateway_sees_every_command_stream(gateway: Client) -> None:
    for shard in range(SHARDS):
        with pytest.raises(ApiError) as caught:
            await api.request(gateway, f"CONSUMER.INFO.{stream_name(shard)}.a-none")
        assert caught.value.err_code == api.CONSUMER_NOT_FOUND


async def test_anonymous_is_refused(server: LocalServer) -> None:
    client = Client()

    async def ignore(_error: Exception) -> None:
        return

    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        async with asyncio.timeout(5):
            await client.connect(server.url, error_cb=ignore, allow_reconnect=False)
    await client.close()


async def test_stranger_with_a_key_of_his_own_is_refused(server: LocalServer) -> None:
    server.seed_path("gateway").unlink()
    server._seed("gateway")  # a new one that the running server does not know
    with pytest.raises(BrokerUnreachableError):
        await server.connect("gateway", deadline_s=1)
    assert "authorization violation" in str(await server.errors.get()).lower()


async def test_system_account_sees_nothing_of_redflag(server: LocalServer, dispatcher: Client) -> None:
    system = await server.connect("system")
    seen = await system.subscribe(">")
    await system.flush()
    await dispatcher.jetstream().publish(command_subject(AGENT), b"secret")
    await dispatcher.flush()
    await system.flush()
    while seen.pending_msgs:
        assert not (await seen.next_msg(timeout=1)).subject.startswith("rf.")
    await system.close()


async def test_stolen_gateway_credential_can_plant_a_worthless_answer_only(
    gateway: Client, dispatcher: Client
) -> None:
    # A publish whose reply subject is a command subject makes the broker store its own PubAck there. Hosts refuse
    # it (it is not an envelope) and the dispatcher removes it; ARCHITECTURE.md 3 names this.
    await gateway.publish(up_subject("report", 1), b"r", reply=command_subject(AGENT))
    await gateway.flush()
    await dispatcher.flush()
    for _ in range(50):
        info = await api.request(dispatcher, f"STREAM.INFO.{STREAM}")
        if info["state"]["messages"]:
            break
    message = await dispatcher.request(f"$JS.API.DIRECT.GET.{STREAM}.{command_subject(AGENT)}", timeout=5)
    assert json.loads(message.data)["stream"] == "UP"
