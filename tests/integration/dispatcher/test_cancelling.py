"""Cancels: settled here while the target was never published, sent to the host after that."""

from uuid import UUID

import pytest

from redflag_broker_config.subjects import UP_STREAM
from redflag_store.queries.cancel import request_cancel
from redflag_store.queries.refusals import AlreadyPendingError, CommandEndedError
from redflag_wire.clock import ManualClock
from redflag_wire.command_params import CancelParams
from redflag_wire.intent import IntentVerb
from redflag_wire.report import CommandState, Outcome
from tests.integration.dispatcher.rig import CLOCK, Host, Rig, opened


async def cancel(rig: Rig, host: Host, command: UUID) -> UUID:
    """Ask as the API does, with the dashboard's rights."""
    intent = rig.intent([host], IntentVerb.CANCEL_COMMAND, {"cmd": str(command)})
    async with opened(rig.url.dashboard) as make, make.begin() as session:
        return await request_cancel(session, CLOCK, command_id=command, intent=intent, requested_by="admin")


async def ended(rig: Rig, command: UUID) -> tuple[str, str | None, str | None]:
    (row,) = await rig.rows("SELECT state, result, code FROM command WHERE id = $1", command)
    return row["state"], row["result"], row["code"]


async def report(rig: Rig, host: Host, *frames: bytes) -> None:
    await rig.send_up(host, *frames)
    ingest = await rig.the_ingest()
    while await rig.waiting_in(UP_STREAM):
        await ingest.step()
        await rig.nc.flush()


@pytest.mark.parametrize("signed_before", [False, True])
async def test_target_that_was_never_published_ends_without_the_host(rig: Rig, signed_before: bool) -> None:
    (host,) = await rig.add_hosts()
    (target,) = await rig.request([host])
    if signed_before:
        await rig.signer().step()
    asked = await cancel(rig, host, target)
    await rig.signer().step()

    assert await ended(rig, target) == ("cancelled", "cancelled", "cancelled")
    assert await ended(rig, asked) == ("succeeded", "succeeded", None)
    assert await rig.rows("SELECT 1 FROM outbox") == []
    assert await rig.rows("SELECT 1 FROM signing_log WHERE command_id = $1", asked) == []
    assert await rig.timeline(asked) == ["requested", "succeeded"]
    (move,) = await rig.rows("SELECT * FROM command_event WHERE to_state = 'cancelled'")
    assert (move["cause"], str(asked) in move["detail"]) == ("cancelled_before_publish", True)


async def test_claimed_message_counts_as_published(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    target = (await rig.signed(host)).cmd
    relay = await rig.relay()
    rows = await relay.claim()  # in flight: nobody knows yet whether the broker has it
    asked = await cancel(rig, host, target)
    await rig.signer().step()

    assert await rig.timeline(target) == ["requested", "signed", "queued", "cancelling"]
    payload = await rig.payload(asked)
    assert isinstance(payload.typed_params, CancelParams)
    assert payload.typed_params.cmd == target
    await relay.mark(rows, await relay.publish(rows), {})
    assert await rig.state(target) == "cancelling"


async def test_cancel_goes_before_what_waits_longer(rig: Rig) -> None:
    host, other = await rig.add_hosts(2)
    target = (await rig.signed(host)).cmd
    relay = await rig.relay(batch=1)
    await relay.step()
    await rig.signed(other)
    await rig.request([other], "dry_run_update", PLAN)
    asked = await cancel(rig, host, target)
    await rig.signer().step()
    (row,) = await relay.claim()
    assert row.command_id == asked


PLAN = {"manager": "apt", "packages": [{"name": "openssl", "arch": "amd64", "version": "3.0.18"}]}


async def test_host_says_what_became_of_both(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    target = await rig.signed(host)
    relay = await rig.relay()
    await relay.step()
    asked = await cancel(rig, host, target.cmd)
    await rig.signer().step()
    await relay.step()
    order = await rig.payload(asked)
    await report(
        rig,
        host,
        host.of_command(target, CommandState.DONE, Outcome.CANCELLED, started=None),
        host.of_command(order, CommandState.DONE, Outcome.SUCCEEDED),
    )
    assert (await ended(rig, target.cmd))[0] == "cancelled"
    assert (await ended(rig, asked))[0] == "succeeded"


async def test_promise_of_a_host_that_never_saw_the_target_ends_it(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    target = await rig.signed(host)
    relay = await rig.relay()
    await relay.step()
    asked = await cancel(rig, host, target.cmd)
    await rig.signer().step()
    await relay.step()
    await report(rig, host, host.of_command(await rig.payload(asked), CommandState.DONE, Outcome.SUCCEEDED))
    clock = ManualClock(CLOCK.now())
    await rig.ends(clock).step()
    assert await rig.state(target.cmd) == "cancelling", "its own word may be on its way"
    clock.advance(61)
    await rig.ends(clock).step()
    assert await ended(rig, target.cmd) == ("cancelled", "cancelled", "cancelled")


async def test_cancel_of_what_ended_meanwhile_comes_too_late(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    target = await rig.signed(host)
    await (await rig.relay()).step()
    asked = await cancel(rig, host, target.cmd)
    await report(rig, host, host.of_command(target, CommandState.DONE, Outcome.SUCCEEDED))
    await rig.signer().step()
    assert await ended(rig, asked) == ("failed", "failed", "too_late")
    assert await rig.state(target.cmd) == "succeeded"
    with pytest.raises(CommandEndedError):
        await cancel(rig, host, target.cmd)


async def test_second_cancel_names_the_first(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    (target,) = await rig.request([host])
    asked = await cancel(rig, host, target)
    with pytest.raises(AlreadyPendingError) as caught:
        await cancel(rig, host, target)
    assert caught.value.command_id == asked


async def test_cancel_of_a_quarantined_hosts_command_is_settled(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    (target,) = await rig.request([host])
    await rig.rows("UPDATE agent SET state = 'quarantined'")
    await cancel(rig, host, target)
    await rig.signer().step()
    assert await rig.state(target) == "cancelled"


async def test_nothing_is_signed_for_a_quarantined_host_not_even_a_cancel(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    target = await rig.signed(host)
    await (await rig.relay()).step()
    asked = await cancel(rig, host, target.cmd)
    await rig.rows("UPDATE agent SET state = 'quarantined'")
    await rig.signer().step()
    assert await ended(rig, asked) == ("failed", "failed", "agent_not_active")
    assert await rig.state(target.cmd) == "queued"
    assert await rig.value("SELECT count(*) FROM signing_log") == 1


async def test_cancel_without_an_intent_for_it_cancels_nothing(rig: Rig) -> None:
    host, other = await rig.add_hosts(2)
    (target,) = await rig.request([host])
    (foreign,) = await rig.request([other])
    asked = await cancel(rig, host, target)
    # As if somebody had changed the row: the intent names another command.
    await rig.rows(
        "UPDATE command SET params = jsonb_build_object('cmd', $1::text) WHERE id = $2", str(foreign), asked
    )
    await rig.signer().step()
    assert (await ended(rig, asked))[0] == "cancelled"
    assert await rig.state(foreign) == await rig.state(target) == "signed"
    (event,) = await rig.events("intent_refused")
    assert event["data"]["code"] == "intent_params"
