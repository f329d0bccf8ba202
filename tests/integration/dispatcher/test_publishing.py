import asyncio
import json
from datetime import timedelta
from uuid import UUID

from redflag_broker_config.streams import COMMANDS_PER_AGENT
from redflag_broker_config.subjects import command_subject, shard_of, stream_name, wake_subject
from redflag_dispatcher.publish_rules import PubAck
from redflag_wire.clock import ManualClock
from redflag_wire.command import Command
from tests.integration.dispatcher.rig import CLOCK, Rig, connected, hear
from tests.support.nats_server import Broker

PLAN_PARAMS = {"manager": "apt", "packages": [{"name": "openssl", "arch": "amd64", "version": "3.0.18"}]}


async def outbox_of(rig: Rig, command: UUID) -> dict[str, object]:
    (row,) = await rig.rows("SELECT * FROM outbox WHERE command_id = $1", command)
    return row


async def age(rig: Rig, seconds: float) -> None:
    """Let everything published be that much older."""
    await rig.rows(
        "UPDATE outbox SET published_at = published_at - make_interval(secs => $1)", float(seconds)
    )


async def test_relay_publishes_the_stored_bytes_and_wakes_the_gateways(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    heard = await hear(rig.nc, wake_subject(shard_of(host.id)))
    command = (await rig.signed(host)).cmd

    assert await (await rig.relay()).step() is False

    (message,) = await rig.messages(host.id)
    stored = await rig.value("SELECT envelope FROM command WHERE id = $1", command)
    assert message.data == stored
    assert message.headers["Nats-Msg-Id"] == f"{command}:1"
    assert 86_000 < int(message.headers["Nats-TTL"].removesuffix("s")) <= 86_400
    assert message.headers["Nats-Subject"] == command_subject(host.id)
    assert await rig.timeline(command) == ["requested", "signed", "queued"]
    row = await outbox_of(rig, command)
    assert (row["stream_seq"], row["attempts"]) == (int(message.headers["Nats-Sequence"]), 1)
    assert row["published_at"] is not None
    assert row["stream_created_at"] is not None
    assert await heard.next() == [host.id.hex]


async def test_two_relays_do_not_double(rig: Rig) -> None:
    hosts = await rig.add_hosts(60)
    await rig.request(hosts)
    signer = rig.signer()
    while await signer.step():
        pass
    one, two = await rig.relay(batch=10), await rig.relay(batch=10)

    async def drain(relay: object) -> None:
        while await relay.step():  # type: ignore[attr-defined]
            pass

    await asyncio.gather(drain(one), drain(two), drain(one), drain(two))
    counts = [len(await rig.messages(host.id)) for host in hosts[:10]]
    assert counts == [1] * 10
    assert await rig.value("SELECT count(*) FROM command WHERE state = 'queued'") == 60
    assert await rig.value("SELECT count(*) FROM command_event WHERE to_state = 'queued'") == 60
    assert rig.registry.get_sample_value("redflag_commands_published_total", {"outcome": "published"}) == 60


async def test_relay_that_died_after_the_puback_causes_no_second_message(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = (await rig.signed(host)).cmd
    dead = await rig.relay()
    await dead.publish(await dead.claim())  # and dies here: nothing is marked
    assert await rig.state(command) == "signed"
    relay = await rig.relay()
    await relay.step()
    assert await rig.state(command) == "signed", "the claim of the dead one still holds"

    await rig.rows("UPDATE outbox SET claimed_until = now() - interval '1 second'")
    await relay.step()

    assert await rig.state(command) == "queued"
    (message,) = await rig.messages(host.id)
    assert message.headers["Nats-Msg-Id"] == f"{command}:1"
    assert (await outbox_of(rig, command))["n"] == 1


async def test_duplicate_answer_for_a_message_that_is_gone_publishes_the_next_number(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = (await rig.signed(host)).cmd
    dead = await rig.relay()
    await dead.publish(await dead.claim())
    (message,) = await rig.messages(host.id)
    seq = int(message.headers["Nats-Sequence"])
    await rig.nc.request(
        f"$JS.API.STREAM.MSG.DELETE.{stream_name(shard_of(host.id))}", json.dumps({"seq": seq}).encode()
    )
    await rig.rows("UPDATE outbox SET claimed_until = NULL")
    relay = await rig.relay()

    await relay.step()
    assert (await outbox_of(rig, command))["n"] == 2
    assert await rig.state(command) == "signed"
    await relay.step()

    (message,) = await rig.messages(host.id)
    assert message.headers["Nats-Msg-Id"] == f"{command}:2"
    assert await rig.state(command) == "queued"


async def test_full_queue_of_an_agent_leaves_the_row_due_later(rig: Rig) -> None:
    host, other = await rig.add_hosts(2)
    js = rig.nc.jetstream()
    for _ in range(COMMANDS_PER_AGENT):
        await js.publish(command_subject(host.id), b"old")
    await rig.signed(host)
    await rig.signed(other)

    await (await rig.relay()).step()

    rows = await rig.rows("SELECT o.*, c.state FROM outbox o JOIN command c ON c.id = o.command_id")
    states = {row["agent_id"]: row["state"] for row in rows}
    assert states == {host.id: "signed", other.id: "queued"}
    full = next(row for row in rows if row["agent_id"] == host.id)
    assert full["due_at"] > CLOCK.now() + timedelta(seconds=5)
    assert full["claimed_until"] is None
    assert "10077" in full["last_error"]


async def connected_again(rig: Rig) -> None:
    async with asyncio.timeout(20):
        while not rig.nc.is_connected:  # noqa: ASYNC110 - the client tells of it by callback only
            await asyncio.sleep(0.02)


async def test_broker_away_costs_an_attempt_and_loses_nothing(rig: Rig, broker: Broker) -> None:
    (host,) = await rig.add_hosts()
    command = (await rig.signed(host)).cmd
    relay = await rig.relay()
    broker.stop()
    assert await relay.step() is False
    broker.start()
    await connected_again(rig)
    await rig.rows("UPDATE outbox SET due_at = now(), claimed_until = NULL")
    await relay.step()
    assert await rig.state(command) == "queued"
    assert len(await rig.messages(host.id)) == 1


async def test_wiped_store_is_refilled_with_the_same_bytes(rig: Rig, broker: Broker) -> None:
    hosts = await rig.add_hosts(25)
    commands = await rig.request(hosts)
    signer = rig.signer()
    while await signer.step():
        pass
    await (await rig.relay()).step()
    bytes_before = {host.id: (await rig.messages(host.id))[0].data for host in hosts}
    broker.stop()
    broker.wipe_store()
    broker.start()
    async with connected(broker) as nc:
        fresh = Rig(rig.url, nc, rig.maker)
        assert await fresh.rows("SELECT 1 FROM outbox WHERE published_at IS NULL") == []
        await fresh.reconciler().step()
        relay = await fresh.relay()
        while await relay.step():
            pass
        for host in hosts:
            (message,) = await fresh.messages(host.id)
            assert message.data == bytes_before[host.id]
            assert message.headers["Nats-Msg-Id"].endswith(":2")
        # A second round finds nothing to do.
        assert await fresh.reconciler().refill() == 0
    states = await rig.rows("SELECT DISTINCT state FROM command WHERE id = ANY($1)", commands)
    assert [row["state"] for row in states] == ["queued"]
    (event,) = await rig.events("broker_store_lost")
    assert event["data"]["count"] == 25


async def test_deleted_stream_is_made_again_and_refilled(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = (await rig.signed(host)).cmd
    relay = await rig.relay()
    await relay.step()
    await rig.nc.request(f"$JS.API.STREAM.DELETE.{stream_name(shard_of(host.id))}", b"")

    await rig.reconciler().step()
    await relay.step()

    (message,) = await rig.messages(host.id)
    assert message.headers["Nats-Msg-Id"] == f"{command}:2"


async def test_single_lost_message_is_published_again_and_others_left_alone(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    lost = (await rig.signed(host)).cmd
    kept = (await rig.signed(host, "dry_run_update", PLAN_PARAMS)).cmd
    relay = await rig.relay()
    await relay.step()
    seq = (await outbox_of(rig, lost))["stream_seq"]
    await rig.nc.request(
        f"$JS.API.STREAM.MSG.DELETE.{stream_name(shard_of(host.id))}", json.dumps({"seq": seq}).encode()
    )
    await rig.reconciler().step()
    assert (await outbox_of(rig, lost))["n"] == 1, "not yet: it is younger than a minute"

    await age(rig, 61)
    await rig.reconciler().step()
    await relay.step()

    ids = {message.headers["Nats-Msg-Id"] for message in await rig.messages(host.id)}
    assert ids == {f"{lost}:2", f"{kept}:1"}


async def test_wake_up_of_a_long_waiting_command_is_repeated(rig: Rig) -> None:
    host, young = await rig.add_hosts(2)
    await rig.signed(host)
    relay = await rig.relay()
    await relay.step()
    await age(rig, 61)
    await rig.signed(young)
    await relay.step()
    heard = await hear(rig.nc, wake_subject(shard_of(host.id)))
    await rig.reconciler().step()
    assert await heard.next() == [host.id.hex]
    assert len(await rig.messages(host.id)) == 1, "it is still there: nothing is published again"


async def expire(rig: Rig, command: UUID) -> None:
    await rig.rows("UPDATE command SET exp = now() - interval '10 minutes' WHERE id = $1", command)


async def test_command_nobody_took_expires_with_its_cause(rig: Rig) -> None:
    hosts = await rig.add_hosts(3)
    commands: list[Command] = [await rig.signed(host) for host in hosts]
    relay = await rig.relay()
    await relay.step()
    never_published = await rig.signed(hosts[0], "dry_run_update", PLAN_PARAMS)
    for command in (commands[0], commands[1], never_published):
        await expire(rig, command.cmd)
    await rig.rows("UPDATE command SET state = 'running' WHERE id = $1", commands[1].cmd)

    await rig.ends().step()
    await rig.reconciler().step()

    assert await rig.state(commands[0].cmd) == "expired"
    assert await rig.state(never_published.cmd) == "expired"
    assert await rig.state(commands[1].cmd) == "running", "only the host ends what it started"
    assert await rig.state(commands[2].cmd) == "queued"
    (move,) = await rig.rows(
        "SELECT * FROM command_event WHERE command_id = $1 AND to_state = 'expired'", commands[0].cmd
    )
    assert (move["from_state"], move["cause"]) == ("queued", "exp_passed")
    left = {row["command_id"] for row in await rig.rows("SELECT command_id FROM outbox")}
    assert left == {commands[2].cmd}


async def test_expired_command_is_not_published(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = (await rig.signed(host)).cmd
    await expire(rig, command)
    await (await rig.relay()).step()
    assert await rig.messages(host.id) == []


async def test_expired_plan_gives_its_packages_back(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = (await rig.signed(host, "dry_run_update", PLAN_PARAMS)).cmd
    await rig.rows(
        "INSERT INTO package_state (agent_id, manager, name, arch, candidate, availability, state, approved_version, "
        "command_id, first_seen_at, changed_at) VALUES ($1, 'apt', 'openssl', 'amd64', '3.0.18', 'available', "
        "'checking_dependencies', '3.0.18', $2, now(), now())",
        host.id,
        command,
    )
    await expire(rig, command)
    await rig.ends().step()
    assert await rig.value("SELECT state FROM package_state") == "approved"


async def test_publisher_answers_each_message_in_order(rig: Rig) -> None:
    hosts = await rig.add_hosts(5)
    for host in hosts:
        await rig.signed(host)
    relay = await rig.relay()
    rows = await relay.claim()
    answers = await relay.publish(rows)
    assert all(isinstance(answer, PubAck) and not answer.duplicate for answer in answers)
    for row, answer in zip(rows, answers, strict=True):
        assert isinstance(answer, PubAck)
        assert answer.stream == stream_name(row.shard)
        assert await rig.streams.message_at(row.agent_id, answer.seq) == f"{row.command_id}:1"
    again = await relay.publish(rows)
    assert all(isinstance(answer, PubAck) and answer.duplicate for answer in again)


async def test_clock_of_the_reconciler_decides_what_is_old(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.signed(host)
    await (await rig.relay()).step()
    heard = await hear(rig.nc, wake_subject(shard_of(host.id)))
    clock = ManualClock(CLOCK.now())
    reconciler = rig.reconciler(clock=clock)
    await reconciler.step()
    await rig.nc.flush()
    assert heard.messages.empty()
    clock.advance(61)
    await reconciler.step()
    assert await heard.next() == [host.id.hex]
