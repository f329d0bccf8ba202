"""Commands, waiting for one to move, history, events, tokens."""

import asyncio
import base64
import json
import shlex
from typing import Any
from uuid import UUID

from sqlalchemy import text

from redflag_store.command_states import ServerState
from redflag_store.listen import Listener
from redflag_store.queries.journal import CHANGE_CHANNEL, EventRow, MoveRow, write_events, write_moves
from redflag_store.states import Severity
from redflag_store.tables import UpdateHistory
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.ids import new_id
from redflag_wire.manifest_chain import verify_first
from tests.integration.dashboard.running_api import CLOCK, GATEWAY, Api, add_command
from tests.support.postgres import DatabaseUrl


async def a_scan(api: Api) -> UUID:
    await api.add_host()
    return UUID((await api.call("POST", "/hosts/web-04/scan", body={}, expect=202))["id"])


async def sign(api: Api, command: UUID) -> None:
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "UPDATE command SET state = 'signed', signed_at = :at, seq = 1, envelope = :b WHERE id = :id"
            ),
            {"at": CLOCK.now(), "b": b'{"a":1}', "id": command},
        )
        move = (ServerState.REQUESTED.value, ServerState.SIGNED.value, "signed")
        await write_moves(session, [MoveRow(new_id(CLOCK), command, CLOCK.now(), *move)])


async def until_waiting(api: Api) -> None:
    """Return once a request waits; the gauge is all that shows it from outside."""
    async with asyncio.timeout(5):
        while api.registry.get_sample_value("redflag_http_waiting") != 1:  # noqa: ASYNC110 - no event to await
            await asyncio.sleep(0.01)


async def test_a_command_shows_its_whole_story(api: Api) -> None:
    command = await a_scan(api)
    await sign(api, command)
    shown = await api.call("GET", f"/commands/{command}", key="read")
    assert [(one["from_state"], one["to_state"], one["cause"]) for one in shown["events"]] == [
        (None, "requested", "requested"), ("requested", "signed", "signed"),
    ]  # fmt: skip
    assert base64.b64decode(shown["envelope"]) == b'{"a":1}'
    assert shown["state"] == "signed"
    assert not shown["ended"]


async def test_commands_are_listed_by_what_they_are(api: Api) -> None:
    command = await a_scan(api)
    shown = await api.call("GET", "/commands", host="web-04", state="requested", kind="scan", pending="true")
    assert [one["id"] for one in shown["items"]] == [str(command)]
    assert "envelope" not in shown["items"][0]
    assert (await api.call("GET", "/commands", kind="reboot"))["total"] == 0
    assert (await api.call("GET", "/commands", pending="false"))["total"] == 0
    assert (await api.call("GET", "/commands", op=shown["items"][0]["op"]))["total"] == 1


async def test_waiting_ends_as_soon_as_the_command_moves(api: Api, database: DatabaseUrl) -> None:
    command = await a_scan(api)
    changes = api.parts.changes
    async with Listener(database.dashboard, [CHANGE_CHANNEL], poll_s=5) as listener:
        await listener.wait_connected(10)

        async def pass_on() -> None:
            while True:
                for notice in (await listener.wait()).notices:
                    changes.notice(notice.payload)

        passing = asyncio.create_task(pass_on())
        try:
            waiting = asyncio.create_task(
                api.call("GET", f"/commands/{command}", wait=20, after_state="requested")
            )
            await until_waiting(api)
            began = CLOCK.monotonic()
            await sign(api, command)
            shown = await waiting
            assert shown["state"] == "signed"
            # Without the notice it would have looked again only after two seconds.
            assert CLOCK.monotonic() - began < 1.0
        finally:
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)
    assert api.registry.get_sample_value("redflag_http_waiting") == 0


async def test_a_lost_notice_costs_only_seconds(api: Api) -> None:
    command = await a_scan(api)
    waiting = asyncio.create_task(api.call("GET", f"/commands/{command}", wait=20))
    await until_waiting(api)
    await sign(api, command)
    async with asyncio.timeout(10):
        assert (await waiting)["state"] == "signed"


async def test_waiting_ends_in_time_when_nothing_moves(api: Api) -> None:
    command = await a_scan(api)
    began = CLOCK.monotonic()
    shown = await api.call("GET", f"/commands/{command}", wait=0.3)
    assert shown["state"] == "requested"
    assert 0.3 <= CLOCK.monotonic() - began < 3


async def test_an_ended_command_is_not_waited_for(api: Api) -> None:
    agent = await api.add_host()
    command = new_id(CLOCK)
    async with api.owner.begin() as session:
        await add_command(session, agent, command, "scan", "failed", error="apt is locked", code="locked")
    began = CLOCK.monotonic()
    assert (await api.call("GET", f"/commands/{command}", wait=20, after_state="failed"))["ended"]
    assert CLOCK.monotonic() - began < 5


async def test_history_is_one_meaningful_line_each(api: Api) -> None:
    agent = await api.add_host()
    install, scan = new_id(CLOCK), new_id(CLOCK)
    async with api.owner.begin() as session:
        await add_command(
            session, agent, install, "install_updates", "succeeded", duration_ms=8000, result="succeeded",
            params={"packages": [{"name": "openssl"}]},
            summary={"text": "Upgraded openssl 3.0.17 -> 3.0.18 and 2 dependencies, 8 s"},
        )  # fmt: skip
        for name in ("openssl", "libssl3"):
            session.add(
                UpdateHistory(
                    id=new_id(CLOCK), agent_id=agent, command_id=install, manager="apt", name=name, arch="amd64",
                    old_version="3.0.17", new_version="3.0.18", action="upgrade", result="succeeded",
                    stored_at=CLOCK.now(),
                )
            )  # fmt: skip
        await add_command(session, agent, scan, "scan", "failed", params={"subsystem": "apt"}, error="locked")
        await add_command(session, agent, new_id(CLOCK), "scan", "requested")
    page = await api.call("GET", "/history", host="web-04")
    assert page["total"] == 2
    assert [one["text"] for one in page["items"]] == [
        "Scan of apt: failed (locked)",
        "Upgraded openssl 3.0.17 -> 3.0.18 and 2 dependencies, 8 s",
    ]
    done = page["items"][1]
    assert [(one["name"], one["new"]) for one in done["changes"]] == [
        ("libssl3", "3.0.18"), ("openssl", "3.0.18"),
    ]  # fmt: skip
    assert done["change_count"] == 2
    assert (await api.call("GET", "/history", kind="scan"))["total"] == 1


async def test_events_are_listed_from_a_severity_on(api: Api) -> None:
    agent = await api.add_host()
    async with api.owner.begin() as session:
        await write_events(
            session,
            [
                EventRow(new_id(CLOCK), CLOCK.now(), severity, "ingest", f"code_{severity}", "text", agent)
                for severity in (Severity.DEBUG, Severity.WARNING, Severity.ERROR)
            ],
        )
    assert (await api.call("GET", "/events", component="ingest"))["total"] == 3
    page = await api.call("GET", "/events", severity="warning", host="web-04", component="ingest")
    assert [one["code"] for one in page["items"]] == ["code_error", "code_warning"]
    assert page["items"][0]["hostname"] == "web-04"
    assert (await api.call("GET", "/events", code="code_debug"))["total"] == 1


async def test_a_token_is_shown_once_and_lets_a_host_trust_the_roots(api: Api) -> None:
    made = await api.call(
        "POST", "/enrollment-tokens", body={"seats": 3, "expires_in_s": 3600, "note": "rack 4"}, expect=201
    )
    token = EnrolmentToken.parse(made["token"])
    words = shlex.split(made["install"])
    assert words == ["redflag-agent", "enroll", "--server", GATEWAY, "--token", made["token"]]
    async with api.owner() as session:
        manifest = await session.scalar(text("SELECT envelope FROM key_manifest"))
        row = (await session.execute(text("SELECT pub, max_seats FROM enrollment_token"))).one()
        dump = json.dumps(
            [
                [str(value) for value in found]
                for table in ("intent", "enrollment_token", "idempotency_key")
                for found in await session.execute(text(f"SELECT * FROM {table}"))  # noqa: S608
            ]
        )
    assert verify_first(bytes(manifest), token.rootfp).version == 1
    assert bytes(row.pub) == token.public.raw
    assert row.max_seats == 3
    assert made["token"].split("_")[2] not in dump
    page = await api.call("GET", "/enrollment-tokens", active="true")
    assert [(one["id"], one["active"], one["note"]) for one in page["items"]] == [
        (token.token_id, True, "rack 4")
    ]
    assert "token" not in page["items"][0]


async def test_a_repeated_token_request_keeps_the_secret(api: Api) -> None:
    sent: dict[str, Any] = {"body": {}, "headers": {"Idempotency-Key": "t"}}
    first = await api.call("POST", "/enrollment-tokens", expect=201, **sent)
    again = await api.call("POST", "/enrollment-tokens", expect=201, **sent)
    assert again["id"] == first["id"]
    assert again["token"] is None
    assert again["install"] is None
    async with api.owner() as session:
        stored = await session.scalar(text("SELECT response FROM idempotency_key"))
    assert first["token"] not in json.dumps(stored)


async def test_an_active_token_is_one_that_is_good_now(api: Api) -> None:
    for change in (
        "used = max_seats", "expires_at = now() - interval '1 minute'", "revoked_at = now()", "note = 'good'",
    ):  # fmt: skip
        made = await api.call("POST", "/enrollment-tokens", body={}, expect=201)
        async with api.owner.begin() as session:
            await session.execute(
                text(f"UPDATE enrollment_token SET {change} WHERE id = :id"),  # noqa: S608
                {"id": made["id"]},
            )
    active = await api.call("GET", "/enrollment-tokens", active="true")
    assert [one["note"] for one in active["items"]] == ["good"]
    ended = await api.call("GET", "/enrollment-tokens", active="false", limit=2)
    assert ended["total"] == 3
    assert not any(one["active"] for one in ended["items"])
    rest = await api.call("GET", "/enrollment-tokens", active="false", limit=2, cursor=ended["next"])
    assert len(rest["items"]) == 1


async def test_a_token_stays_within_its_bounds(api: Api) -> None:
    for body in ({"seats": 0}, {"expires_in_s": 8 * 86400}, {"note": "a\x1b[2J"}, {"tags": {"a b": "c"}}):
        problem = await api.call("POST", "/enrollment-tokens", body=body, expect=422)
        assert problem["code"] == "invalid_request"
