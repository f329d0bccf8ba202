import asyncio
import json
import urllib.request
from datetime import UTC, datetime
from typing import Any

from redflag_broker_config import api
from redflag_broker_config.subjects import command_subject, consumer_name, shard_of, stream_name
from redflag_gateway import telling
from tests.integration.gateway.conftest import Bench, RunningGateway, eventually


async def test_command_published_before_the_first_poll_is_delivered(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    _cmd, envelope = await bench.dispatcher.publish_command(agent.agent)
    (command,) = await agent.poll()
    assert command["envelope"] == envelope.to_object()


async def test_wake_up_reaches_a_parked_poll(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    assert await agent.poll() == []
    parked = asyncio.create_task(agent.poll(wait=30))
    await eventually(lambda: len(gateway.gateway.parked) == 1, "a parked poll")
    started = datetime.now(UTC)
    _cmd, envelope = await bench.dispatcher.publish_command(agent.agent)
    (command,) = await parked
    assert command["envelope"] == envelope.to_object()
    assert (datetime.now(UTC) - started).total_seconds() < 5
    assert len(gateway.gateway.parked) == 0


async def test_acknowledged_command_never_comes_again_and_its_consumer_goes(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    await bench.dispatcher.publish_command(agent.agent)
    await bench.dispatcher.publish_command(agent.agent)
    first, second = await agent.poll()
    assert await bench.consumers() == 1
    assert await agent.poll() == []  # delivered, not acknowledged: not due again yet
    assert await agent.ack(first["handle"]) == 1
    assert await bench.messages() == 1
    assert await bench.consumers() == 1
    assert await agent.ack(second["handle"]) == 1
    assert await bench.messages() == 0
    assert await bench.consumers() == 0
    assert await agent.poll() == []
    assert await agent.poll(wait=1) == []


async def test_unacknowledged_command_comes_again_with_another_handle(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    await bench.dispatcher.publish_command(agent.agent)
    (first,) = await agent.poll()
    stream, name = stream_name(shard_of(agent.agent)), consumer_name(agent.agent)
    await api.request(bench.dispatcher.nc, f"CONSUMER.DELETE.{stream}.{name}")  # as inactivity would
    await bench.dispatcher.wake(agent.agent)
    (second,) = await agent.poll(wait=5)
    assert second["envelope"] == first["envelope"]
    assert second["handle"] != first["handle"]
    assert await agent.ack(first["handle"]) == 0  # of the consumer's former life
    assert await bench.messages() == 1
    assert await agent.ack(second["handle"]) == 1
    assert await bench.messages() == 0


async def test_foreign_and_forged_handles_have_no_effect(bench: Bench, gateway: RunningGateway) -> None:
    victim, thief = bench.agent(gateway), bench.agent(gateway)
    await bench.dispatcher.publish_command(victim.agent)
    await bench.dispatcher.publish_command(thief.agent)
    (command,) = await victim.poll()
    await thief.poll()
    handle = command["handle"]
    forged = ("A" if handle[0] != "A" else "B") + handle[1:]
    subject = f"$JS.ACK.{stream_name(shard_of(victim.agent))}.{consumer_name(victim.agent)}.1.1.1.1.0"
    assert await thief.ack(handle, forged, subject, "", "x" * 5000) == 0
    assert await victim.ack(forged) == 0
    assert await bench.messages() == 2
    assert gateway.metric("handles_refused_total") == 6
    assert await victim.ack(handle, handle) == 1


async def test_old_handle_removes_nothing_from_a_new_store(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    await bench.dispatcher.publish_command(agent.agent)
    (old,) = await agent.poll()
    stream = stream_name(shard_of(agent.agent))
    config = (await api.request(bench.dispatcher.nc, f"STREAM.INFO.{stream}"))["config"]
    await api.request(bench.dispatcher.nc, f"STREAM.DELETE.{stream}")
    await api.request(bench.dispatcher.nc, f"STREAM.CREATE.{stream}", config)
    await bench.dispatcher.publish_command(agent.agent)  # gets the old one's sequence number
    (new,) = await agent.poll(wait=5)
    assert await agent.ack(old["handle"]) == 0
    assert await bench.messages() == 1
    assert await agent.ack(new["handle"]) == 1


async def test_empty_polls_do_not_touch_the_broker(bench: Bench, gateway: RunningGateway) -> None:
    agents = [bench.agent(gateway) for _ in range(20)]
    for agent in agents:
        assert await agent.poll() == []

    async def messages_in() -> int:
        def read() -> int:
            url = f"{bench.broker.monitor_url}/connz?subs=0"
            with urllib.request.urlopen(url, timeout=5) as answer:
                connections = json.loads(answer.read())["connections"]
            return sum(c["in_msgs"] for c in connections if c["name"] == "redflag-gateway")

        return await asyncio.to_thread(read)

    before = await messages_in()
    started = asyncio.get_running_loop().time()
    for _ in range(10):
        await asyncio.gather(*(agent.poll() for agent in agents))
    # Only the presence batches may have gone out meanwhile: one message per shard every few seconds.
    batches = 1 + (asyncio.get_running_loop().time() - started) // telling.PRESENCE_EVERY_S
    assert await messages_in() - before <= 16 * batches < 200
    assert await bench.consumers() == 0


async def test_thousand_idle_agents_leave_no_consumer(bench: Bench, gateway: RunningGateway) -> None:
    agents = [bench.agent(gateway) for _ in range(1000)]
    for start in range(0, len(agents), 100):
        assert await asyncio.gather(*(agent.poll() for agent in agents[start : start + 100])) == [[]] * 100
    assert await bench.consumers() == 0
    assert len(gateway.gateway.pending) == 0
    some = agents[::10]
    for agent in some:
        await bench.dispatcher.publish_command(agent.agent)
    delivered = await asyncio.gather(*(agent.poll(wait=10) for agent in some))
    assert [len(commands) for commands in delivered] == [1] * len(some)
    assert await bench.consumers() == len(some)
    await asyncio.gather(*(a.ack(c[0]["handle"]) for a, c in zip(some, delivered, strict=True)))
    assert await bench.consumers() == 0
    assert await bench.messages() == 0


async def test_full_batches_follow_one_another(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    published = [(await bench.dispatcher.publish_command(agent.agent))[1].to_object() for _ in range(25)]
    got: list[dict[str, Any]] = []
    while len(got) < 25:
        commands = await agent.poll(wait=5)
        assert commands
        got += commands
    assert [command["envelope"] for command in got] == published
    assert await agent.ack(*(command["handle"] for command in got)) == 25
    assert await bench.consumers() == 0


async def test_message_that_is_no_envelope_is_removed_and_never_delivered(
    bench: Bench, gateway: RunningGateway
) -> None:
    agent = bench.agent(gateway)
    await bench.dispatcher.nc.jetstream().publish(command_subject(agent.agent), b'{"planted":1}')
    await bench.dispatcher.publish_command(agent.agent)
    (command,) = await agent.poll()
    assert gateway.metric("commands_unreadable_total") == 1
    assert await agent.ack(command["handle"]) == 1
    assert await bench.messages() == 0


async def test_newer_poll_of_an_agent_ends_the_older_one(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    await agent.poll()
    older = asyncio.create_task(agent.poll(wait=50))
    await eventually(lambda: len(gateway.gateway.parked) == 1, "a parked poll")
    newer = asyncio.create_task(agent.poll(wait=50))
    assert await older == []
    await bench.dispatcher.publish_command(agent.agent)
    assert len(await newer) == 1


async def test_poll_whose_client_is_gone_takes_no_command(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    await agent.poll()
    gone = asyncio.create_task(agent.poll(wait=50))
    await eventually(lambda: len(gateway.gateway.parked) == 1, "a parked poll")
    gone.cancel()
    await eventually(lambda: len(gateway.gateway.parked) == 0, "the place given back")
    await bench.dispatcher.publish_command(agent.agent)
    assert len(await agent.poll(wait=5)) == 1


async def test_two_gateways_deliver_a_command_once(bench: Bench, gateway: RunningGateway) -> None:
    other = await bench.start_gateway()
    await bench.ready(other)
    here = bench.agent(gateway)
    there = bench.agent(other, here.agent, here.key)
    assert await here.poll() == []
    assert await there.poll() == []
    await bench.dispatcher.publish_command(here.agent)
    (command,) = await here.poll(wait=5)
    assert await there.poll() == []
    assert await there.ack(command["handle"]) == 1  # a handle is good at every gateway
    assert await here.poll() == []
    assert await there.poll() == []
    assert await bench.messages() == 0


async def test_stop_answers_parked_polls_at_once(bench: Bench, gateway: RunningGateway) -> None:
    agents = [bench.agent(gateway) for _ in range(5)]
    for agent in agents:
        await agent.poll()
    parked = [asyncio.create_task(agent.poll(wait=55)) for agent in agents]
    await eventually(lambda: len(gateway.gateway.parked) == 5, "parked polls")
    started = asyncio.get_running_loop().time()
    gateway.stop.set()
    assert await asyncio.gather(*parked) == [[]] * 5
    await gateway.serving
    assert asyncio.get_running_loop().time() - started < 5


async def test_deliveries_and_presence_are_told(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    shard = shard_of(agent.agent)
    seen = await bench.dispatcher.nc.subscribe("rf.presence.*")
    told = await bench.dispatcher.nc.subscribe("rf.up.delivered.*")
    await bench.dispatcher.nc.flush()
    cmd, _envelope = await bench.dispatcher.publish_command(agent.agent, number=3)
    await agent.poll()
    delivered = await told.next_msg(timeout=10)
    assert delivered.subject == f"rf.up.delivered.{shard}"
    (entry,) = json.loads(delivered.data)
    assert datetime.fromisoformat(entry.pop("at")).tzinfo is not None
    assert entry == {"agent": agent.agent.hex, "cmd": str(cmd), "n": 3}
    presence = await seen.next_msg(timeout=20)
    assert presence.subject == f"rf.presence.{shard}"
    assert json.loads(presence.data).keys() == {agent.agent.hex}


async def test_confirmed_reports_and_beacon_are_in_the_answer(bench: Bench, gateway: RunningGateway) -> None:
    agent = bench.agent(gateway)
    reply = await agent.call("GET", "/commands")
    assert reply.body == {"commands": [], "beacon": None, "confirmed_rseq": None, "next_poll_s": 300}
    beacon = await bench.dispatcher.publish_beacon()
    subject = f"rf.done.{shard_of(agent.agent)}"
    await bench.dispatcher.nc.publish(subject, b"not json")
    await bench.dispatcher.nc.publish(subject, json.dumps({agent.agent.hex: 17}).encode())

    async def told() -> bool:
        body = (await agent.call("GET", "/commands")).body
        return bool(body["confirmed_rseq"] == 17 and body["beacon"] == beacon.to_object())

    await eventually(told, "confirmation and beacon")
    assert gateway.metric("broker_messages_refused_total", kind="done") == 1
