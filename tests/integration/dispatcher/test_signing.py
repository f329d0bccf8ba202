import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from redflag_store.queries.intents import IntentData
from redflag_wire.envelope import digest, parse_envelope, verify_envelope
from redflag_wire.ids import new_id
from redflag_wire.intent import IntentVerb
from redflag_wire.payload_types import PayloadType
from tests.integration.dispatcher.rig import CLOCK, Host, Rig, make_key


async def test_signer_makes_a_command_within_its_intent(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    (command,) = await rig.request([host])

    assert await rig.signer().step() is False

    (row,) = await rig.rows("SELECT * FROM command WHERE id = $1", command)
    verified = verify_envelope(
        parse_envelope(row["envelope"]), PayloadType.COMMAND, [rig.keys.command.public]
    )
    payload = await rig.payload(command)
    assert row["state"] == "signed"
    assert row["digest"] == digest(verified.payload)
    assert (payload.cmd, payload.agent, payload.op, payload.seq) == (command, host.id, row["op"], row["seq"])
    assert payload.akt == host.agent_key.public.thumbprint
    assert payload.by.intent == await rig.value("SELECT digest FROM intent")
    (log,) = await rig.rows("SELECT * FROM signing_log")
    assert (log["command_id"], log["digest"]) == (command, row["digest"])
    (outbox,) = await rig.rows("SELECT * FROM outbox")
    assert (outbox["command_id"], outbox["n"], outbox["published_at"]) == (command, 1, None)
    assert await rig.timeline(command) == ["requested", "signed"]
    assert await rig.value("SELECT last_seq FROM agent") == row["seq"]


async def test_scan_of_a_subsystem_may_take_as_long_as_that_is_given(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.rows(
        "INSERT INTO subsystem (agent_id, name, plan_interval_s, plan_timeout_s) VALUES ($1, 'apt', 60, 77)",
        host.id,
    )
    assert (await rig.signed(host, "scan", {"subsystem": "apt"})).pol.max_runtime == 77
    assert (await rig.signed(host, "scan", {"subsystem": "all"})).pol.max_runtime == 1_800


async def test_signer_numbers_commands_of_one_agent_upwards(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    floor = 2**52
    await rig.rows("UPDATE agent SET seq_floor = $1", floor)
    first = await rig.signed(host)
    second = await rig.signed(host, "dry_run_update", PLAN_PARAMS)
    assert floor < first.seq < second.seq


PLAN_PARAMS = {"manager": "apt", "packages": [{"name": "openssl", "arch": "amd64", "version": "3.0.18"}]}


async def insert_command(rig: Rig, host: Host, intent: UUID | None, **columns: object) -> UUID:
    command = new_id(CLOCK)
    values = {"kind": "scan", "params": {"subsystem": "apt"}, "source": "manual", **columns}
    await rig.rows(
        "INSERT INTO command (id, agent_id, kind, params, intent_id, requested_by, requested_at, source) "
        "VALUES ($1, $2, $3, $4::jsonb, $5, 'nobody', now(), $6)",
        command,
        host.id,
        values["kind"],
        json.dumps(values["params"]),
        intent,
        values["source"],
    )
    return command


async def store_intent(rig: Rig, data: IntentData) -> UUID:
    await rig.rows(
        "INSERT INTO intent (id, envelope, digest, verb, operator, correlation_id, at) "
        "VALUES ($1, $2, $3, $4, $5, $6, now())",
        data.id,
        data.envelope,
        data.digest,
        data.verb,
        data.operator,
        data.correlation_id,
    )
    return data.id


async def refused(rig: Rig, command: UUID, code: str) -> None:
    """Hold that a command was cancelled, never signed, and that people are told."""
    await rig.signer().step()
    (row,) = await rig.rows("SELECT state, envelope, code FROM command WHERE id = $1", command)
    assert (row["state"], row["envelope"], row["code"]) == ("cancelled", None, code)
    assert await rig.rows("SELECT 1 FROM signing_log WHERE command_id = $1", command) == []
    assert await rig.rows("SELECT 1 FROM outbox WHERE command_id = $1", command) == []
    event = (await rig.events("intent_refused"))[-1]
    assert (event["data"]["command"], event["data"]["code"]) == (str(command), code)
    (move,) = await rig.rows(
        "SELECT * FROM command_event WHERE command_id = $1 AND to_state = 'cancelled'", command
    )
    assert move["cause"] == "intent_refused"


@pytest.mark.parametrize(
    ("kind", "params"),
    [("reboot", {}), ("enable_heartbeat", {"duration_s": 600}), ("cancel", {"cmd": str(new_id(CLOCK))})],
)
async def test_command_that_changes_a_host_is_never_signed_without_an_intent(
    rig: Rig, kind: str, params: dict[str, object]
) -> None:
    (host,) = await rig.add_hosts()
    command = await insert_command(rig, host, None, source="system", kind=kind, params=params)
    await refused(rig, command, "system_kind")


async def test_what_redflag_asks_for_itself_is_signed_without_an_intent(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await insert_command(rig, host, None, source="system")
    await rig.signer().step()
    payload = await rig.payload(command)
    assert (payload.by.intent, payload.by.approvers) == (None, [])
    assert await rig.timeline(command) == ["signed"]


async def test_system_command_does_not_borrow_an_intent(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    intent = await store_intent(rig, rig.intent([host]))
    await refused(rig, await insert_command(rig, host, intent, source="system"), "system_kind")


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"kind": "reboot", "params": {}}, "intent_kind"),
        ({"kind": "no_such_kind"}, "intent_kind"),
        ({"params": {"subsystem": "all"}}, "intent_params"),
        ({"params": {"subsystem": "apt", "shell": "id"}}, "intent_params"),
    ],
)
async def test_sql_inserted_command_beyond_its_intent_is_never_signed(
    rig: Rig, columns: dict[str, object], code: str
) -> None:
    (host,) = await rig.add_hosts()
    intent = await store_intent(rig, rig.intent([host]))
    await refused(rig, await insert_command(rig, host, intent, **columns), code)


async def test_command_for_another_host_than_the_intent_names_is_never_signed(rig: Rig) -> None:
    host, other = await rig.add_hosts(2)
    intent = await store_intent(rig, rig.intent([other]))
    await refused(rig, await insert_command(rig, host, intent), "intent_target")


async def test_intent_signed_with_another_key_commands_nothing(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    for key in (make_key(), rig.keys.command, rig.keys.access):
        intent = await store_intent(rig, rig.intent([host], key=key))
        await refused(rig, await insert_command(rig, host, intent), "intent_signature")


async def test_intent_whose_bytes_name_another_id_commands_nothing(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    copied = replace(rig.intent([host]), id=new_id(CLOCK))
    intent = await store_intent(rig, copied)
    await refused(rig, await insert_command(rig, host, intent), "intent_id")


async def test_intent_is_good_for_one_command_per_agent(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.request([host])
    await rig.signer().step()
    intent = await rig.value("SELECT id FROM intent")
    await refused(rig, await insert_command(rig, host, intent), "intent_used")


async def test_intent_of_a_command_that_ended_before_it_was_signed_is_spent(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.request([host])
    await rig.rows("UPDATE command SET state = 'cancelled', finished_at = now()")
    intent = await rig.value("SELECT id FROM intent")
    await refused(rig, await insert_command(rig, host, intent), "intent_used")


@pytest.mark.parametrize("params", ["[1]", '"x"', "null", "1" * 5000, "[" * 1500 + "]" * 1500])
async def test_parameters_that_are_no_object_stop_nobody_elses_command(rig: Rig, params: str) -> None:
    bad, good = await rig.add_hosts(2)
    command = await insert_command(rig, bad, await store_intent(rig, rig.intent([bad])))
    await rig.rows("UPDATE command SET params = $1::jsonb", params)
    (other,) = await rig.request([good])
    await refused(rig, command, "intent_params")
    assert await rig.state(other) == "signed"


async def test_scheduled_scans_of_a_fleet_do_not_stand_before_an_operators(rig: Rig) -> None:
    hosts = await rig.add_hosts(4)
    for host in hosts[1:]:
        await insert_command(rig, host, None, source="system")
    (asked,) = await rig.request([hosts[0]])
    await rig.signer(batch=1).step()
    assert await rig.rows("SELECT id FROM command WHERE state = 'signed'") == [{"id": asked}]
    # Two copies in one batch: one of them at most.
    fresh = await store_intent(rig, rig.intent([host]))
    for _ in range(2):
        await insert_command(rig, host, fresh)
    await rig.signer().step()
    states = await rig.rows("SELECT state FROM command WHERE intent_id = $1 ORDER BY id", fresh)
    assert sorted(row["state"] for row in states) == ["cancelled", "signed"]


async def test_old_intent_commands_nothing(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    intent = await store_intent(rig, rig.intent([host], at=CLOCK.now() - timedelta(hours=25)))
    await refused(rig, await insert_command(rig, host, intent), "intent_expired")


async def test_command_that_only_waited_longer_than_its_intent_is_good_for_is_no_alarm(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    intent = await store_intent(rig, rig.intent([host], at=CLOCK.now() - timedelta(hours=25)))
    command = await insert_command(rig, host, intent)
    await rig.rows("UPDATE command SET requested_at = now() - interval '2 hours'")
    await rig.signer().step()
    (row,) = await rig.rows("SELECT state, code FROM command WHERE id = $1", command)
    assert (row["state"], row["code"]) == ("expired", "not_admitted")
    assert await rig.events("intent_refused") == []


async def test_verb_without_a_command_commands_nothing(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    intent = await store_intent(rig, rig.intent([host], IntentVerb.CREATE_TOKEN))
    await refused(rig, await insert_command(rig, host, intent), "intent_verb")


async def test_agent_that_is_not_active_gets_nothing_signed(rig: Rig) -> None:
    (host,) = await rig.add_hosts(state="quarantined")
    intent = await store_intent(rig, rig.intent([host]))
    await refused(rig, await insert_command(rig, host, intent), "agent_not_active")


async def test_bulk_intent_is_signed_for_each_host(rig: Rig) -> None:
    hosts = await rig.add_hosts(30)
    commands = await rig.request(hosts)
    signer = rig.signer()
    while await signer.step():
        pass
    states = await rig.rows("SELECT DISTINCT state FROM command WHERE id = ANY($1)", commands)
    assert [row["state"] for row in states] == ["signed"]
    assert await rig.value("SELECT count(DISTINCT digest) FROM signing_log") == 30


async def test_two_signers_sign_each_command_once(rig: Rig) -> None:

    hosts = await rig.add_hosts(40)
    commands = await rig.request(hosts)
    await asyncio.gather(rig.signer().step(), rig.signer().step())
    assert await rig.value("SELECT count(*) FROM signing_log") == len(commands)
    assert await rig.value("SELECT count(*) FROM command_event WHERE to_state = 'signed'") == len(commands)
