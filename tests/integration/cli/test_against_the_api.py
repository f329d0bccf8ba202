"""Every command against the API that really answers, with the exit codes scripts rely on."""

import asyncio
import base64
import signal
from uuid import UUID

import pytest
from sqlalchemy import text, update
from sqlmodel import col

from redflag_store.tables import Command
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.plan import Plan
from tests.integration.cli.command_line import CommandLine
from tests.integration.dashboard.running_api import CLOCK, Api, install_of, removal, upgrade_plan
from tests.support.processes import free_port


@pytest.fixture
async def host(api: Api) -> UUID:
    agent = await api.add_host()
    for name in ("alpha", "beta"):
        await api.add_update(agent, name)
    return agent


async def move(api: Api, command_id: str, state: str, **columns: object) -> None:
    """Do to a command what the dispatcher would, and tell those who wait."""
    chosen = {"envelope": b"{}", "state": state, **columns}
    async with api.owner.begin() as session:
        await session.execute(update(Command).where(col(Command.id) == UUID(command_id)).values(**chosen))
    api.parts.changes.look_afresh()


async def only_pending(api: Api, kind: str) -> str:
    """Wait until a command of this kind is asked for; return its id."""
    async with asyncio.timeout(30):
        while True:
            async with api.owner() as session:
                found = await session.scalar(
                    text("SELECT id FROM command WHERE kind = :kind AND state = 'requested'"), {"kind": kind}
                )
            if found is not None:
                return str(found)
            await asyncio.sleep(0.05)


async def test_hosts_and_updates_are_what_the_api_says(api: Api, cli: CommandLine, host: UUID) -> None:
    hosts = await cli.json("hosts", "list")
    assert hosts == await api.call("GET", "/hosts")
    shown = await cli.json("hosts", "show", "web-04")
    assert (shown["id"], shown["updates"]["available"]) == (str(host), 2)
    updates = await cli.json("updates", "list", "web-04")
    assert [one["name"] for one in updates["items"]] == ["alpha", "beta"]
    assert updates["counts"]["by_state"] == {"pending": 2}
    listed = (await cli.run("hosts", "list")).out
    assert str(host) in listed
    assert "\x1b" not in listed
    assert (await cli.run("updates", "list", "--security")).out == ""


async def test_lists_longer_than_a_page_come_whole(api: Api, cli: CommandLine) -> None:
    agent = await api.add_host()
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, security,"
                " availability, state, first_seen_at, changed_at)"
                " SELECT :agent, 'apt', 'pkg-' || lpad(n::text, 4, '0'), 'amd64', '1', '2', false,"
                " 'available', 'pending', now(), now()"
                " FROM generate_series(1, 1203) n"
            ),
            {"agent": agent},
        )
    page = await cli.json("updates", "list", "--limit", "5000")
    assert [one["name"] for one in page["items"]] == [f"pkg-{n:04}" for n in range(1, 1204)]
    assert (page["next"], page["total"]) == (None, 1203)
    first = await cli.run("updates", "list", "--limit", "700", "--format", "json")
    assert "700 of 1203 shown" in first.err
    cursor = (await cli.json("updates", "list", "--limit", "700"))["next"]
    rest = await cli.json("updates", "list", "--limit", "700", "--cursor", cursor)
    assert [one["name"] for one in rest["items"]] == [f"pkg-{n:04}" for n in range(701, 1204)]


async def test_scan_waits_for_the_end_and_shows_progress_on_stderr_only(
    api: Api, cli: CommandLine, host: UUID
) -> None:
    process = await cli.start("scan", "web-04", "apt", "--wait", "--format", "json")
    command_id = await only_pending(api, "scan")
    await move(api, command_id, "running")
    await move(api, command_id, "succeeded", result="succeeded", duration_ms=1500)
    ended = await cli.end(process)
    assert ended.code == 0, ended
    assert '"state": "succeeded"' in ended.out
    assert "web-04: scan" in ended.err


@pytest.mark.parametrize("state", ["failed", "expired", "rejected", "unknown", "cancelled", "parked"])
async def test_a_command_that_did_not_succeed_ends_with_one(
    api: Api, cli: CommandLine, host: UUID, state: str
) -> None:
    asked = await cli.json("scan", "web-04")
    await move(api, asked["id"], state, error="E: no space \x1b[31mleft", code="no_space")
    shown = await cli.run("commands", "show", asked["id"], "--wait", expect=1)
    assert "no space \\x1b[31mleft" in shown.out
    assert "\x1b" not in shown.out + shown.err


async def test_waiting_too_long_ends_with_seven_and_leaves_the_command(
    api: Api, cli: CommandLine, host: UUID
) -> None:
    ended = await cli.run("scan", "web-04", "--wait", "--timeout", "1s", expect=7)
    command_id = await only_pending(api, "scan")
    assert f"redflag commands show {command_id}" in ended.err


async def test_control_c_while_waiting_says_that_the_command_goes_on(
    api: Api, cli: CommandLine, host: UUID
) -> None:
    process = await cli.start("scan", "web-04", "--wait")
    command_id = await only_pending(api, "scan")
    assert process.stderr is not None
    async with asyncio.timeout(30):
        first = await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    ended = await cli.end(process)
    assert b"web-04: scan" in first
    assert ended.code == 130
    assert f"redflag commands show {command_id} --wait" in ended.err
    assert "Traceback" not in ended.err
    assert (await cli.json("commands", "show", command_id))["state"] == "requested"


async def test_the_same_scan_twice_is_a_conflict_or_is_followed(
    api: Api, cli: CommandLine, host: UUID
) -> None:
    asked = await cli.json("scan", "web-04")
    again = await cli.run("scan", "web-04", expect=6)
    assert f"redflag commands show {asked['id']}" in again.err
    process = await cli.start("scan", "web-04", "--wait", "--format", "json")
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"following" not in await process.stderr.readline():
            pass
    await move(api, asked["id"], "succeeded", result="succeeded")
    assert (await cli.end(process)).code == 0


async def test_from_pending_to_the_install_command(api: Api, cli: CommandLine, host: UUID) -> None:
    nothing = await cli.run("updates", "plan", "web-04", expect=6)
    assert "nothing_to_do" in nothing.err
    approved = await cli.json("updates", "approve", "web-04", "alpha", "beta:amd64=2.0")
    assert [one["name"] for one in approved["approved"]] == ["alpha", "beta"]
    await cli.run("updates", "approve", "web-04", "alpha=1.5", expect=3)

    planning = await cli.start("updates", "plan", "web-04", "--wait")
    command_id = await only_pending(api, "dry_run_update")
    plan = upgrade_plan("alpha", "beta", extra=(install_of("gamma"), removal("delta")))
    digest = await api.add_plan(host, plan)
    await move(api, command_id, "succeeded", result="succeeded", plan_digest=digest)
    planned = await cli.end(planning)
    assert planned.code == 0, planned
    order = [planned.out.index(name) for name in ("delta:amd64", "alpha:amd64", "beta:amd64", "gamma:amd64")]
    assert order == sorted(order)

    refused = await cli.run("updates", "install", "web-04", expect=6)
    assert f"redflag updates confirm web-04 {digest}" in refused.err
    assert "delta" in refused.err
    confirmed = await cli.json("updates", "confirm", "web-04", digest.removeprefix("sha256:")[:12])
    assert (confirmed["digest"], confirmed["confirmed_by"]) == (digest, "admin")

    command = await cli.json("updates", "install", "web-04")
    assert command["params"]["plan_digest"] == digest
    assert command["kind"] == "install_updates"
    busy = await cli.run("updates", "install", "web-04", expect=6)
    assert command["id"] in busy.err

    await move(api, command["id"], "succeeded", result="succeeded", finished_at=CLOCK.now())
    history = await cli.run("history", "web-04")
    assert "alpha, beta" in history.out
    assert [
        one["id"] for one in (await cli.json("commands", "list", "--kind", "install_updates"))["items"]
    ] == [command["id"]]


async def test_install_with_yes_makes_the_plan_confirms_it_and_installs_it(
    api: Api, cli: CommandLine, host: UUID
) -> None:
    await cli.run("updates", "approve", "web-04", "--all")
    # An older plan of other packages is not what is asked for.
    await api.add_plan(host, upgrade_plan("alpha"))
    process = await cli.start("updates", "install", "web-04", "alpha", "beta", "--yes", "--format", "json")
    command_id = await only_pending(api, "dry_run_update")
    digest = await api.add_plan(host, upgrade_plan("alpha", "beta", extra=(removal("delta"),)))
    await move(api, command_id, "succeeded", result="succeeded", plan_digest=digest)
    ended = await cli.end(process)
    assert ended.code == 0, ended
    assert digest in ended.out


async def test_what_is_not_approved_is_refused_by_name(api: Api, cli: CommandLine, host: UUID) -> None:
    await api.add_plan(host, upgrade_plan("alpha"))
    refused = await cli.run("updates", "install", "web-04", "alpha", expect=6)
    assert "not_approved" in refused.err
    assert "alpha" in refused.err
    assert "updates approve" in refused.err


async def test_a_plan_that_changes_nothing_is_said_to(api: Api, cli: CommandLine, host: UUID) -> None:
    await cli.run("updates", "approve", "web-04", "alpha")
    await api.add_plan(host, Plan(manager="apt", request=upgrade_plan("alpha").request, items=[]))
    refused = await cli.run("updates", "install", "web-04", expect=6)
    assert "nothing_to_do" in refused.err


async def test_the_envelope_is_printed_alone(api: Api, cli: CommandLine, host: UUID) -> None:
    asked = await cli.json("scan", "web-04")
    await cli.run("commands", "show", asked["id"], "--envelope", expect=6)
    await move(api, asked["id"], "signed", envelope=b'{"payload":"x"}')
    printed = (await cli.run("commands", "show", asked["id"], "--envelope")).out
    assert base64.b64decode(printed, validate=False) == b'{"payload":"x"}'
    assert printed.count("\n") == 1


async def test_tokens_are_made_with_their_secret_once(cli: CommandLine) -> None:
    made = await cli.json(
        "tokens", "create", "--seats", "3", "--expires", "2h", "--note", "rack 4", "--tag", "env=test"
    )
    assert EnrolmentToken.parse(made["token"]).token_id == made["id"]
    assert (made["seats"], made["tags"], made["note"]) == (3, {"env": "test"}, "rack 4")
    listed = await cli.run("tokens", "list")
    assert made["id"] in listed.out
    assert made["token"] not in listed.out
    told = await cli.run("tokens", "create")
    assert told.out.startswith("redflag-agent enroll ")
    await cli.run("tokens", "create", "--expires", "90d", expect=2)


async def test_events_are_listed(cli: CommandLine) -> None:
    assert (await cli.json("events", "list"))["items"] == []


async def test_names_that_are_not_there_end_with_three(cli: CommandLine, host: UUID) -> None:
    for arguments in (
        ("hosts", "show", "nobody"), ("scan", "nobody"), ("history", "nobody"), ("updates", "list", "nobody"),
        ("commands", "show", "0198f000-0000-7000-8000-000000000000"), ("updates", "confirm", "web-04"),
        ("updates", "approve", "web-04", "nothing"),
    ):  # fmt: skip
        ended = await cli.run(*arguments, expect=3)
        assert ended.err.startswith("redflag: ")


async def test_a_key_that_is_not_in_force_ends_with_five(api: Api, cli: CommandLine, host: UUID) -> None:
    cli.point_to(api.url, "rfk_wrong")
    assert "--api-key-file" in (await cli.run("hosts", "list", expect=5)).err
    cli.point_to(api.url, api.keys["read"])
    await cli.run("hosts", "list")
    assert "scope_missing" in (await cli.run("scan", "web-04", expect=5)).err


async def test_wrong_use_ends_with_two(cli: CommandLine, host: UUID) -> None:
    for arguments in (
        ("hosts", "lst"), ("updates", "list", "--state", "nonsense"), ("updates", "approve", "web-04"),
        ("updates", "approve", "web-04", "alpha", "--all"), ("scan", "web-04", "--wait", "--timeout", "soon"),
        ("hosts", "list", "--limit", "0"),
    ):  # fmt: skip
        await cli.run(*arguments, expect=2)


async def test_no_server_ends_with_four(cli: CommandLine) -> None:
    cli.point_to(f"http://127.0.0.1:{free_port()}", "rfk_x")
    ended = await cli.run("hosts", "list", expect=4)
    assert "redflag up" in ended.err


async def test_doctor_says_what_it_could_not_look_at(cli: CommandLine, host: UUID) -> None:
    told = await cli.json("doctor", expect=1)
    verdicts = {one["what"]: one["verdict"] for one in told["checks"]}
    assert verdicts["API"] == verdicts["API key"] == verdicts["agents"] == verdicts["clock"] == "ok"
    assert verdicts["programs"] == "failed"  # there is no up.json beside this API
    assert told["well"] is False
