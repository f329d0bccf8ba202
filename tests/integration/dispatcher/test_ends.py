"""What ends by time, and what may still replace such an end."""

import asyncio
import json
from datetime import timedelta

import pytest

from redflag_broker_config.subjects import UP_STREAM, UpKind, shard_of, up_subject
from redflag_dispatcher.seen import Deliveries
from redflag_wire.clock import ManualClock
from redflag_wire.command import LONGEST_LIFE, Command, CommandKind
from redflag_wire.report import CommandState, Outcome
from tests.integration.dispatcher.rig import CLOCK, Host, Rig

REBOOT = {"delay_s": 60, "reason": ""}


async def moved(rig: Rig, command: Command) -> list[tuple[str, str]]:
    rows = await rig.rows(
        "SELECT to_state, cause FROM command_event WHERE command_id = $1 ORDER BY at, id", command.cmd
    )
    return [(row["to_state"], row["cause"]) for row in rows]


async def report(rig: Rig, host: Host, *frames: bytes) -> None:
    await rig.send_up(host, *frames)
    ingest = await rig.the_ingest()
    while await rig.waiting_in(UP_STREAM):
        await ingest.step()
        await rig.nc.flush()


async def published(rig: Rig, host: Host) -> Command:
    command = await rig.signed(host)
    await (await rig.relay()).step()
    return command


async def test_running_command_of_a_silent_host_ends_as_unknown_until_it_speaks(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    await report(rig, host, host.of_command(command, CommandState.STARTED))
    started = CLOCK.now()
    clock = ManualClock(started)
    limit = 1800 + 14_400  # timeouts.scan_s and timeouts.silent_host_s
    clock.advance(limit - 60)
    await rig.ends(clock).step()
    assert await rig.state(command.cmd) == "running"

    clock.advance(120)
    await rig.ends(clock).step()
    (row,) = await rig.rows("SELECT state, code, result FROM command")
    assert (row["state"], row["code"], row["result"]) == ("unknown", "host_silent", "unknown")
    (event,) = await rig.events("host_silent")
    assert event["data"]["command"] == str(command.cmd)

    # The report that was written long ago comes at last, and again: it counts once.
    done = host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, started=started)
    await report(rig, host, done)
    late = host.of_command(command, CommandState.DONE, Outcome.FAILED, started=started)
    await report(rig, host, late)
    (row,) = await rig.rows("SELECT state, code, result FROM command")
    assert (row["state"], row["code"], row["result"]) == ("succeeded", None, "succeeded")
    moves = await moved(rig, command)
    assert moves.count(("unknown", "host_silent")) == moves.count(("succeeded", "late_report")) == 1


async def test_running_command_never_expires(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    await report(rig, host, host.of_command(command, CommandState.STARTED))
    await rig.rows("UPDATE command SET exp = now() - interval '1 hour'")
    await rig.ends().step()
    assert await rig.state(command.cmd) == "running"


async def delivered(rig: Rig, host: Host, command: Command, times: int) -> None:
    entry = {"agent": host.id.hex, "cmd": str(command.cmd), "n": 1, "at": "2026-11-21T08:00:00.000Z"}
    await rig.nc.jetstream().publish(
        up_subject(UpKind.DELIVERED, shard_of(host.id)), json.dumps([entry] * times).encode()
    )
    deliveries = Deliveries(rig.maker, await rig.delivered_puller(), clock=CLOCK, metrics=rig.metrics)
    while await rig.waiting_in(UP_STREAM):
        await deliveries.step()
        await rig.nc.flush()


async def test_command_handed_out_in_vain_is_parked_and_taken_from_the_stream(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    await delivered(rig, host, command, 5)
    clock = ManualClock(CLOCK.now())
    await rig.ends(clock).step()
    assert await rig.state(command.cmd) == "queued", "an answer to the last delivery may be on its way"
    clock.advance(61)
    await rig.ends(clock).step()

    assert await rig.state(command.cmd) == "parked"
    assert await rig.messages(host.id) == []
    assert await rig.rows("SELECT 1 FROM outbox") == []
    (event,) = await rig.events("command_parked")
    assert (event["severity"], event["data"]["command"]) == ("warning", str(command.cmd))
    # A host that had it after all is believed.
    await report(rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED))
    assert await rig.state(command.cmd) == "succeeded"


async def test_few_deliveries_or_a_word_of_the_host_park_nothing(rig: Rig) -> None:
    few, heard = await rig.add_hosts(2)
    first, second = await published(rig, few), await published(rig, heard)
    await delivered(rig, few, first, 4)
    await delivered(rig, heard, second, 50)
    await report(rig, heard, heard.of_command(second, CommandState.RECEIVED))
    clock = ManualClock(CLOCK.now())
    clock.advance(3600)
    await rig.ends(clock).step()
    assert await rig.state(first.cmd) == "queued"
    assert await rig.state(second.cmd) == "delivered"


@pytest.mark.parametrize(("kind", "params"), [("scan", {}), ("reboot", REBOOT)])
async def test_command_never_admitted_expires_with_its_kinds_life(
    rig: Rig, kind: str, params: dict[str, object]
) -> None:
    (host,) = await rig.add_hosts()
    (command,) = await rig.request([host], kind, params)
    clock = ManualClock(CLOCK.now())
    clock.advance(LONGEST_LIFE[CommandKind(kind)].total_seconds() - 60)
    await rig.ends(clock).step()
    assert await rig.state(command) == "requested"
    clock.advance(120)
    await rig.ends(clock).step()
    (row,) = await rig.rows("SELECT state, code, envelope FROM command")
    assert (row["state"], row["code"], row["envelope"]) == ("expired", "not_admitted", None)
    await rig.signer().step()
    assert await rig.rows("SELECT 1 FROM signing_log") == []


async def test_two_programs_end_nothing_twice(rig: Rig) -> None:
    hosts = await rig.add_hosts(20)
    await rig.request(hosts)
    clock = ManualClock(CLOCK.now() + timedelta(days=2))
    one, two = rig.ends(clock), rig.ends(clock)
    await asyncio.gather(one.step(), two.step())
    assert await rig.value("SELECT count(*) FROM command_event WHERE to_state = 'expired'") == 20
