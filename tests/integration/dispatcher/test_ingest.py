import json
from typing import Any
from uuid import UUID

import pytest

from redflag_broker_config.subjects import UP_STREAM, UpKind, done_subject, shard_of, up_subject
from redflag_dispatcher.seen import Deliveries
from redflag_wire.command import Command
from redflag_wire.command_params import PackageRef
from redflag_wire.ids import new_id
from redflag_wire.plan import Plan, PlanItem
from redflag_wire.report import CommandState, Outcome, ReportKind
from tests.integration.dispatcher.rig import CLOCK, Host, Rig, b64, hear, make_key

PACKAGE = {"name": "openssl", "arch": "amd64", "version": "3.0.18"}
PLAN_PARAMS = {"manager": "apt", "packages": [PACKAGE]}


def item(name: str, candidate: str = "2", **changes: Any) -> dict[str, Any]:
    return {
        "manager": "apt",
        "name": name,
        "arch": "amd64",
        "installed": "1",
        "candidate": candidate,
        "origin": "Debian",
        "suite": "bookworm",
        "security": False,
        "state": "available",
        "size": 1000,
        **changes,
    }


def inventory(*items: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "inventory",
        "manager": "apt",
        "scanned_at": "2026-11-21T08:00:00.000Z",
        "source_age_s": 60,
        "reboot_required": False,
        "updates": list(items),
        "problems": [],
    }


async def published(
    rig: Rig, host: Host, kind: str = "scan", params: dict[str, Any] | None = None
) -> Command:
    command = await rig.signed(host, kind, params)
    await (await rig.relay()).step()
    return command


async def take(rig: Rig, host: Host, *frames: bytes) -> None:
    """Send reports up and ingest until the stream is empty."""
    await rig.send_up(host, *frames)
    ingest = await rig.the_ingest()
    while await rig.waiting_in(UP_STREAM):
        await ingest.step()
        await rig.nc.flush()


async def packages(rig: Rig) -> dict[str, tuple[str, str]]:
    rows = await rig.rows("SELECT name, candidate, state FROM package_state")
    return {row["name"]: (row["candidate"], row["state"]) for row in rows}


async def test_reports_move_a_command_to_its_end_and_are_confirmed(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    done = await hear(rig.nc, done_subject(shard_of(host.id)))

    await take(rig, host, host.of_command(command, CommandState.RECEIVED))
    assert await rig.state(command.cmd) == "delivered"
    assert await done.next() == {host.id.hex: 1}
    await take(rig, host, host.of_command(command, CommandState.STARTED))
    assert await rig.state(command.cmd) == "running"
    body = inventory(item("openssl", security=True))
    await take(rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, body))

    (row,) = await rig.rows("SELECT * FROM command")
    assert (row["state"], row["result"]) == ("succeeded", "succeeded")
    assert json.loads(row["summary"])["text"] == "1 update available, 1 of them security"
    assert row["delivered_at"] <= row["started_at"] <= row["finished_at"]
    assert await rig.timeline(command.cmd) == [
        "requested",
        "signed",
        "queued",
        "delivered",
        "running",
        "succeeded",
    ]
    assert await rig.rows("SELECT 1 FROM outbox") == []
    assert await rig.value("SELECT last_rseq FROM agent") == 3
    assert await rig.value("SELECT count(*) FROM report_inbox") == 3
    assert await rig.value("SELECT count(*) FROM system_event") == 0
    assert await packages(rig) == {"openssl": ("2", "pending")}


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (Outcome.SUCCEEDED_PENDING_REBOOT, "succeeded"),
        (Outcome.PARTIAL, "failed"),
        (Outcome.FAILED, "failed"),
        (Outcome.PLAN_DRIFT, "failed"),
        (Outcome.UNKNOWN, "unknown"),
    ],
)
async def test_each_result_of_the_work_ends_the_command(rig: Rig, result: Outcome, state: str) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    await take(rig, host, host.of_command(command, CommandState.DONE, result))
    (row,) = await rig.rows("SELECT state, result FROM command")
    assert (row["state"], row["result"]) == (state, result.value)


async def test_refusal_ends_a_queued_command_as_rejected(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    frame = host.of_command(
        command, CommandState.DONE, Outcome.REJECTED, code="policy_kind", started=None, finished=None
    )
    await take(rig, host, frame)
    (row,) = await rig.rows("SELECT state, result, code FROM command")
    assert tuple(row.values()) == ("rejected", "rejected", "policy_kind")


async def test_report_before_the_mark_of_the_relay_counts(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await rig.signed(host)
    relay = await rig.relay()
    rows = await relay.claim()
    answers = await relay.publish(rows)
    await take(rig, host, host.of_command(command, CommandState.RECEIVED))
    assert await rig.state(command.cmd) == "delivered"
    await relay.mark(rows, answers, {})
    assert await rig.state(command.cmd) == "delivered"
    assert await rig.timeline(command.cmd) == ["requested", "signed", "queued", "delivered"]


async def test_late_report_replaces_a_provisional_expiry_once(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    await rig.rows("UPDATE command SET exp = now() + interval '1 hour', state = 'expired'")
    await take(rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED))
    assert await rig.state(command.cmd) == "succeeded"
    (move,) = await rig.rows("SELECT * FROM command_event WHERE to_state = 'succeeded'")
    assert (move["from_state"], move["cause"]) == ("expired", "late_report")
    await take(rig, host, host.of_command(command, CommandState.DONE, Outcome.FAILED))
    assert await rig.state(command.cmd) == "succeeded"
    assert len(await rig.events("report_after_end")) == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda host, _other: host.report(ReportKind.FACTS, signer=make_key()),
        lambda host, _other: host.report(ReportKind.FACTS, signer=host.receipt_key),
        lambda host, _other: host.report(ReportKind.FACTS, fleet=str(new_id(CLOCK))),
        lambda host, _other: host.report(ReportKind.FACTS, akt=make_key().public.thumbprint),
        lambda host, other: host.report(ReportKind.FACTS, agent=other.id),
        lambda host, _other: host.report(ReportKind.FACTS, {"type": "facts"})[:-1] + b"x",
        lambda _host, _other: b"\x00\x00\x00\x02{}\x00\x00\x00\x00",
        lambda _host, _other: b"not a frame",
    ],
    ids=["key", "use", "fleet", "akt", "agent", "body", "envelope", "frame"],
)
async def test_forged_report_is_refused_with_an_event(rig: Rig, forge: Any) -> None:
    host, other = await rig.add_hosts(2)
    await take(rig, host, forge(host, other))
    assert await rig.value("SELECT count(*) FROM report_inbox") == 0
    (event,) = await rig.events("report_refused")
    assert event["agent_id"] == host.id
    assert await rig.waiting_in(UP_STREAM) == 0
    assert await rig.value("SELECT max(last_rseq) FROM agent") == 0
    code = event["data"]["code"]
    assert rig.registry.get_sample_value("redflag_reports_refused_total", {"code": code}) == 1


async def test_report_of_nobody_known_is_refused(rig: Rig) -> None:
    stranger = Host()
    await take(rig, stranger, stranger.report(ReportKind.FACTS))
    (event,) = await rig.events("report_refused")
    assert (event["agent_id"], event["data"]["code"]) == (None, "agent_unknown")


async def test_network_process_cannot_forge_a_receipt(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    await take(
        rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, signer=host.agent_key)
    )
    assert await rig.state(command.cmd) == "queued"
    (event,) = await rig.events("report_refused")
    assert event["data"]["code"] == "key_use"


async def test_repeated_report_is_stored_once_and_confirmed_again(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    frame = host.of_command(command, CommandState.RECEIVED)
    await take(rig, host, frame)
    done = await hear(rig.nc, done_subject(shard_of(host.id)))
    await take(rig, host, frame, frame)
    assert await done.next() == {host.id.hex: 1}
    assert await rig.value("SELECT count(*) FROM report_inbox") == 1
    assert (await rig.timeline(command.cmd)).count("delivered") == 1
    assert rig.registry.get_sample_value("redflag_reports_repeated_total") == 2


async def test_gap_in_the_chain_is_an_event_and_closes_later(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    first = host.report(ReportKind.FACTS)
    second = host.report(ReportKind.FACTS)
    third = host.report(ReportKind.FACTS)
    await take(rig, host, first)
    await take(rig, host, third)
    assert await rig.value("SELECT last_rseq FROM agent") == 1
    (event,) = await rig.events("report_gap")
    assert event["data"]["rseq"] == 3
    await take(rig, host, second)
    assert await rig.value("SELECT last_rseq FROM agent") == 3
    assert await rig.value("SELECT count(*) FROM report_inbox") == 3
    assert await rig.events("report_fork") == []


async def test_fork_of_the_chain_is_an_alarm(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.FACTS))
    host.prev[False] = "sha256:" + "0" * 64
    await take(rig, host, host.report(ReportKind.FACTS))
    (event,) = await rig.events("report_fork")
    assert (event["severity"], event["data"]["rseq"]) == ("critical", 2)
    assert await rig.value("SELECT count(*) FROM report_inbox") == 2, (
        "what a host signed is stored all the same"
    )


@pytest.mark.parametrize("change", ["unknown", "foreign", "bytes"])
async def test_report_on_what_was_not_signed_for_this_host_changes_nothing(rig: Rig, change: str) -> None:
    host, other = await rig.add_hosts(2)
    command = await published(rig, host)
    code = {
        "unknown": "report_without_command",
        "foreign": "report_of_foreign_command",
        "bytes": "cmd_conflict",
    }
    if change == "unknown":
        frame = host.of_command(command.model_copy(update={"cmd": new_id(CLOCK)}), CommandState.RECEIVED)
        await take(rig, host, frame)
    elif change == "foreign":
        await take(rig, other, other.of_command(command, CommandState.RECEIVED))
    else:
        frame = host.of_command(command.model_copy(update={"seq": 1}), CommandState.RECEIVED)
        await take(rig, host, frame)
    assert await rig.state(command.cmd) == "queued"
    (event,) = await rig.events(code[change])
    assert event["severity"] == "critical"


async def test_inventory_of_4000_rows_with_3_bad_ones_stores_3997(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    rows = [item(f"package-{number:04d}") for number in range(4000)]
    rows[10]["name"] = "bad\x00name"
    rows[20]["security"] = "yes"
    rows[30] = dict(rows[31])
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(*rows)))
    assert await rig.value("SELECT count(*) FROM package_state") == 3997
    assert await rig.value("SELECT count(*) FROM update_event WHERE kind = 'discovered'") == 3997
    (event,) = await rig.events("inventory_rows_refused")
    assert event["data"]["count"] == 3
    assert len(event["data"]["rows"]) == 3
    assert await rig.value("SELECT inventory_source_age_s FROM agent") == 60


async def test_unchanged_inventory_writes_no_package_row(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    body = inventory(item("a"), item("b"))
    await take(rig, host, host.report(ReportKind.INVENTORY, body))
    before = await rig.rows("SELECT xmin::text AS x, name FROM package_state ORDER BY name")
    await take(rig, host, host.report(ReportKind.INVENTORY, body))
    assert await rig.rows("SELECT xmin::text AS x, name FROM package_state ORDER BY name") == before
    assert await rig.value("SELECT count(*) FROM update_event") == 2


async def approve(rig: Rig, host: Host, name: str, version: str) -> None:
    intent = rig.intent([host])
    await rig.rows(
        "INSERT INTO intent (id, envelope, digest, verb, operator, correlation_id, at) "
        "VALUES ($1, $2, $3, 'approve_updates', 'admin', $4, now())",
        intent.id,
        intent.envelope,
        intent.digest,
        intent.correlation_id,
    )
    await rig.rows(
        "INSERT INTO approval (id, agent_id, manager, name, arch, version, operator, intent_id, at) "
        "VALUES ($1, $2, 'apt', $3, 'amd64', $4, 'admin', $5, now())",
        new_id(CLOCK),
        host.id,
        name,
        version,
        intent.id,
    )
    await rig.rows(
        "UPDATE package_state SET state = 'approved', approved_version = $2 WHERE name = $1", name, version
    )


async def test_new_candidate_lets_the_approval_lapse_and_a_missing_row_comes_to_rest(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("a"), item("b"), item("c"))))
    for name in ("a", "b", "c"):
        await approve(rig, host, name, "2")
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("a", "3"), item("b"))))
    assert await packages(rig) == {"a": ("3", "pending"), "b": ("2", "approved"), "c": ("2", "updated")}
    lapsed = await rig.rows("SELECT name FROM approval WHERE lapsed_at IS NOT NULL ORDER BY name")
    assert [row["name"] for row in lapsed] == ["a", "c"]
    kinds = await rig.rows("SELECT name, kind FROM update_event WHERE kind <> 'discovered' ORDER BY name")
    assert [tuple(row.values()) for row in kinds] == [("a", "changed"), ("c", "gone")]
    await take(
        rig, host, host.report(ReportKind.INVENTORY, inventory(item("a", "3"), item("b"), item("c", "4")))
    )
    assert (await packages(rig))["c"] == ("4", "pending")


async def work_on(rig: Rig, command: UUID, state: str) -> None:
    await rig.rows(
        "UPDATE package_state SET state = $1, command_id = $2 WHERE name = 'openssl'", state, command
    )


def plan_of(*extra: str) -> Plan:
    items = [
        PlanItem(name="openssl", arch="amd64", old="3.0.17", new="3.0.18", origin="Debian", action="upgrade")
    ]
    items += [
        PlanItem(name=name, arch="amd64", old=None, new="1", origin="Debian", action="install")
        for name in extra
    ]
    return Plan(manager="apt", request=[PackageRef(**PACKAGE)], items=items)


@pytest.mark.parametrize(
    ("extra", "state"), [((), "approved"), (("libfoo", "libbar"), "pending_dependencies")]
)
async def test_plan_is_stored_as_the_host_wrote_it(rig: Rig, extra: tuple[str, ...], state: str) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("openssl", "3.0.18"))))
    await approve(rig, host, "openssl", "3.0.18")
    command = await published(rig, host, "dry_run_update", PLAN_PARAMS)
    await work_on(rig, command.cmd, "checking_dependencies")
    plan = plan_of(*extra)
    body = {"type": "plan", "plan_b64": b64(plan.to_bytes()), "download_bytes": 5, "problems": []}
    await take(
        rig,
        host,
        host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, body, plan_digest=plan.digest),
    )
    (row,) = await rig.rows("SELECT * FROM update_plan")
    assert (row["plan"], row["digest"], row["extra_count"]) == (plan.to_bytes(), plan.digest, len(extra))
    assert row["item_count"] == 1 + len(extra)
    assert (await packages(rig))["openssl"] == ("3.0.18", state)
    assert await rig.value("SELECT plan_digest FROM command") == plan.digest


async def test_plan_under_another_digest_is_not_taken(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host, "dry_run_update", PLAN_PARAMS)
    body = {"type": "plan", "plan_b64": b64(plan_of().to_bytes()), "download_bytes": 5, "problems": []}
    wrong = plan_of("libfoo").digest
    await take(
        rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, body, plan_digest=wrong)
    )
    assert await rig.rows("SELECT 1 FROM update_plan") == []
    assert len(await rig.events("plan_refused")) == 1


def installed(
    name: str, *, ok: bool = True, old: str | None = "3.0.17", new: str = "3.0.18"
) -> dict[str, Any]:
    return {"name": name, "arch": "amd64", "old": old, "new": new, "ok": ok}


def install_body(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "type": "install",
        "manager": "apt",
        "items": list(items),
        "exit_code": 0,
        "stdout": "Setting up openssl\n",
        "stderr": "",
        "duration_ms": 8123,
        "drift": None,
        "conffiles_kept": [],
        **changes,
    }


async def test_install_result_becomes_history_and_a_line_for_people(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("openssl", "3.0.18"))))
    plan = plan_of("libfoo", "libbar")
    command = await published(rig, host, "install_updates", {**PLAN_PARAMS, "plan_digest": plan.digest})
    await work_on(rig, command.cmd, "installing")
    body = install_body(
        installed("openssl"), installed("libfoo", old=None, new="1"), installed("libbar", old=None, new="1")
    )
    frame = host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, body, plan_digest=plan.digest)
    await take(rig, host, frame)

    (row,) = await rig.rows("SELECT * FROM command")
    assert json.loads(row["summary"])["text"] == "Upgraded openssl 3.0.17 -> 3.0.18 and 2 dependencies, 8 s"
    assert (row["exit_code"], row["duration_ms"], row["stdout"]) == (0, 8123, "Setting up openssl\n")
    history = await rig.rows(
        "SELECT name, action, old_version, new_version, result FROM update_history ORDER BY name"
    )
    assert [tuple(entry.values()) for entry in history] == [
        ("libbar", "install", None, "1", "succeeded"),
        ("libfoo", "install", None, "1", "succeeded"),
        ("openssl", "upgrade", "3.0.17", "3.0.18", "succeeded"),
    ]
    (package,) = await rig.rows("SELECT state, installed FROM package_state")
    assert tuple(package.values()) == ("updated", "3.0.18")
    # The same word under a new number is not a second installation.
    await take(rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, body))
    assert await rig.value("SELECT count(*) FROM update_history") == 3


async def test_failed_install_names_what_failed(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("openssl", "3.0.18"))))
    command = await published(rig, host, "install_updates", {**PLAN_PARAMS, "plan_digest": plan_of().digest})
    await work_on(rig, command.cmd, "installing")
    body = install_body(installed("openssl", ok=False, new="3.0.17"), exit_code=100)
    await take(rig, host, host.of_command(command, CommandState.DONE, Outcome.FAILED, body))
    assert (await packages(rig))["openssl"][1] == "failed"
    assert await rig.value("SELECT result FROM update_history") == "failed"
    assert json.loads(await rig.value("SELECT summary FROM command"))["text"] == "1 package failed: openssl"


async def test_install_and_older_inventory_in_one_batch_keep_their_order(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("openssl", "3.0.18"))))
    command = await published(rig, host, "install_updates", {**PLAN_PARAMS, "plan_digest": plan_of().digest})
    await work_on(rig, command.cmd, "installing")
    stale = host.report(ReportKind.INVENTORY, inventory(item("openssl", "3.0.18"), item("zlib")))
    result = host.of_command(
        command, CommandState.DONE, Outcome.SUCCEEDED, install_body(installed("openssl"))
    )
    await take(rig, host, stale, result)
    assert await packages(rig) == {"openssl": ("3.0.18", "updated"), "zlib": ("2", "pending")}


async def test_refused_install_gives_its_packages_back(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await take(rig, host, host.report(ReportKind.INVENTORY, inventory(item("openssl", "3.0.18"))))
    await approve(rig, host, "openssl", "3.0.18")
    command = await published(rig, host, "install_updates", {**PLAN_PARAMS, "plan_digest": plan_of().digest})
    await work_on(rig, command.cmd, "installing")
    frame = host.of_command(command, CommandState.DONE, Outcome.REJECTED, code="policy_kind", started=None)
    await take(rig, host, frame)
    assert (await packages(rig))["openssl"][1] == "approved"


async def test_facts_and_events_reach_their_rows(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    facts = {
        "type": "facts",
        "hostname": "web-1",
        "machine_id": None,
        "os_id": "debian",
        "os_name": "Debian GNU/Linux",
        "os_version": "12",
        "arch": "amd64",
        "kernel": "6.1",
        "agent_version": "0.1.0",
        "boot_id": "b",
        "capabilities": [{"manager": "apt", "can_install": False, "reason": "not root"}],
    }
    told = {
        "type": "event",
        "code": "spool_full",
        "severity": "warning",
        "component": "spool",
        "message": "the spool is full",
        "data": {"dropped": 3},
    }
    await take(rig, host, host.report(ReportKind.FACTS, facts), host.report(ReportKind.EVENT, told))
    (row,) = await rig.rows("SELECT hostname, os_id, kernel, capabilities FROM agent")
    assert (row["hostname"], row["os_id"], row["kernel"]) == ("web-1", "debian", "6.1")
    assert json.loads(row["capabilities"])[0]["reason"] == "not root"
    (event,) = await rig.events("spool_full")
    assert (event["component"], event["agent_id"], event["data"]) == ("agent.spool", host.id, {"dropped": 3})


async def test_unreadable_body_does_not_hide_the_report(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    command = await published(rig, host)
    frame = host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, {"type": "no_such_body"})
    await take(rig, host, frame)
    assert await rig.state(command.cmd) == "succeeded"
    assert len(await rig.events("report_body_unreadable")) == 1


async def test_batch_of_many_hosts_is_one_transaction(rig: Rig) -> None:
    hosts = await rig.add_hosts(40)
    for host in hosts:
        await rig.send_up(host, host.report(ReportKind.FACTS), host.report(ReportKind.FACTS))
    ingest = await rig.ingest()
    await ingest.step()
    assert await rig.value("SELECT count(*) FROM report_inbox") == 80
    assert await rig.value("SELECT min(last_rseq) FROM agent") == 2
    assert rig.registry.get_sample_value("redflag_ingest_batch_messages_count") == 1
    assert await rig.value("SELECT count(DISTINCT xmin::text) FROM report_inbox") == 1


async def test_two_ingests_store_each_report_once(rig: Rig) -> None:
    hosts = await rig.add_hosts(10)
    frames = {host.id: [host.report(ReportKind.FACTS) for _ in range(5)] for host in hosts}
    one, two = await rig.ingest(), await rig.ingest()
    for host in hosts:
        await rig.send_up(host, *frames[host.id], *frames[host.id])
    while await rig.waiting_in(UP_STREAM):
        await one.step()
        await two.step()
    assert await rig.value("SELECT count(*) FROM report_inbox") == 50
    assert await rig.value("SELECT min(last_rseq) FROM agent") == 5


async def test_deliveries_are_counted_for_the_commands_own_agent(rig: Rig) -> None:
    host, other = await rig.add_hosts(2)
    command = await published(rig, host)
    entry = {"agent": host.id.hex, "cmd": str(command.cmd), "n": 1, "at": "2026-11-21T08:00:00.000Z"}
    foreign = {**entry, "agent": other.id.hex}
    subject = up_subject(UpKind.DELIVERED, shard_of(host.id))
    js = rig.nc.jetstream()
    await js.publish(subject, json.dumps([entry, entry, foreign, {"cmd": 3}]).encode())
    await js.publish(subject, b"no json")
    deliveries = Deliveries(rig.maker, await rig.delivered_puller(), clock=CLOCK, metrics=rig.metrics)
    while await rig.waiting_in(UP_STREAM):
        await deliveries.step()
        await rig.nc.flush()
    assert await rig.value("SELECT deliveries FROM command") == 2
