"""Hosts, the fleet's figures, and asking for a scan."""

import asyncio
import base64
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from redflag_dispatcher.intent_check import RequestedCommand, check_command, check_intent
from tests.integration.dashboard.running_api import CLOCK, Api

NO_HOST = "00000000-0000-7000-8000-000000000000"


async def test_hosts_come_in_pages_with_the_count_of_all(api: Api) -> None:
    for name in ("e", "d", "c", "b", "a"):
        await api.add_host(name)
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await api.call("GET", "/hosts", limit=2, **cursor)
        assert page["total"] == 5
        seen += [one["hostname"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        await api.add_host("a0" if len(seen) == 2 else "zz", state="revoked")  # behind and before the cursor
        await api.call("GET", "/hosts", state="active")
        async with api.owner.begin() as session:
            await session.execute(text("DELETE FROM agent WHERE state = 'revoked'"))
    assert seen == ["a", "b", "c", "d", "e"]


async def test_hosts_are_found_by_text_that_holds_signs_of_patterns(api: Api) -> None:
    await api.add_host("a_b%c\\d")
    await api.add_host("axbyc-d")
    for q in ("_", "%", "\\", "A_B%"):
        found = await api.call("GET", "/hosts", q=q)
        assert [one["hostname"] for one in found["items"]] == ["a_b%c\\d"], q
    assert (await api.call("GET", "/hosts", q="debian"))["total"] == 2
    assert (await api.call("GET", "/hosts", q="' OR 1=1 --"))["total"] == 0


async def test_a_host_is_found_by_id_and_by_name_in_any_case(api: Api) -> None:
    agent = await api.add_host("Web-04")
    await api.add_update(agent, "openssl", security=True)
    await api.add_update(agent, "zlib", state="approved", approved_version="2.0")
    await api.add_update(agent, "old", state="updated")
    for name in (str(agent), "Web-04", "web-04"):
        host = await api.call("GET", f"/hosts/{name}")
        assert host["id"] == str(agent)
    assert host["updates"] == {"available": 2, "security": 1, "approved": 1}
    await api.call("GET", f"/hosts/{NO_HOST}", expect=404)


async def test_two_hosts_of_one_name_are_told_apart_by_id(api: Api) -> None:
    first, second = await api.add_host("twin"), await api.add_host("twin")
    problem = await api.call("GET", "/hosts/twin", expect=409)
    assert problem["code"] == "host_ambiguous"
    assert {one["id"] for one in problem["hosts"]} == {str(first), str(second)}


async def test_a_scan_becomes_a_command_the_signer_accepts(api: Api) -> None:
    agent = await api.add_host()
    op = "0193e4a0-0000-7000-8000-000000000001"
    async with api.raw(
        "POST",
        "/hosts/web-04/scan",
        body={"subsystem": "apt"},
        key="write",
        headers={"RF-Correlation-Id": op},
    ) as answer:
        command = await answer.json()
        assert answer.status == 202, command
        assert answer.headers["Location"] == f"/api/v1/commands/{command['id']}"
    assert command["kind"] == "scan"
    assert command["state"] == "requested"
    assert command["op"] == op
    assert command["requested_by"] == "write"
    async with api.owner() as session:
        row = (
            await session.execute(
                text(
                    "SELECT c.params, c.dedupe_key, c.intent_id, i.envelope, i.correlation_id FROM command c "
                    "JOIN intent i ON i.id = c.intent_id"
                )
            )
        ).one()
    assert row.dedupe_key == "scan:apt"
    assert str(row.correlation_id) == op
    checked = check_intent(bytes(row.envelope), [api.parts.intent_key.public], fleet=str(api.parts.fleet))
    asked = RequestedCommand(UUID(command["id"]), agent, row.intent_id, "scan", row.params)
    assert check_command(checked, asked, now=CLOCK.now()) == "scan"


async def test_a_package_manager_the_host_does_not_have_is_not_asked(api: Api) -> None:
    await api.add_host(capabilities=[{"manager": "apt", "can_install": True, "reason": None}])
    await api.add_host("silent")
    problem = await api.call("POST", "/hosts/web-04/scan", body={"subsystem": "docker"}, expect=422)
    assert (problem["code"], problem["managers"]) == ("manager_unknown", ["apt"])
    assert "apt" in problem["detail"]
    await api.call("POST", "/hosts/web-04/scan", body={"subsystem": "apt"}, expect=202)
    await api.call("POST", "/hosts/web-04/scan", body={"subsystem": "all"}, expect=202)
    await api.call("POST", "/hosts/silent/scan", body={"subsystem": "docker"}, expect=202)


async def test_a_burst_of_clicks_makes_one_command(api: Api) -> None:
    await api.add_host()

    async def click() -> tuple[int, str]:
        async with api.raw("POST", "/hosts/web-04/scan", body={}) as answer:
            body = await answer.json(content_type=None)
            return answer.status, body["id"] if answer.status == 202 else body["existing"]["id"]

    answers = await asyncio.gather(*(click() for _ in range(8)))
    assert sorted(status for status, _ in answers) == [202] + [409] * 7
    assert len({command for _, command in answers}) == 1
    async with api.owner() as session:
        assert await session.scalar(text("SELECT count(*) FROM command")) == 1
        # A refused request leaves nothing behind, its intent included.
        assert await session.scalar(text("SELECT count(*) FROM intent")) == 1


async def test_a_host_that_is_not_active_takes_no_command(api: Api) -> None:
    await api.add_host("gone", state="revoked")
    problem = await api.call("POST", "/hosts/gone/scan", body={}, expect=409)
    assert problem["code"] == "host_not_active"
    assert "revoked" in problem["detail"]


async def test_pending_commands_of_a_host_are_bounded(api: Api) -> None:
    await api.add_host()
    for number in range(10):
        await api.call("POST", "/hosts/web-04/scan", body={"subsystem": f"m{number}"}, expect=202)
    problem = await api.call("POST", "/hosts/web-04/scan", body={"subsystem": "apt"}, expect=409)
    assert problem["code"] == "too_many_pending"


async def test_the_same_request_twice_is_one_command_and_one_answer(api: Api) -> None:
    await api.add_host()
    sent: dict[str, Any] = {"body": {}, "headers": {"Idempotency-Key": "scan-1"}}
    first = await api.call("POST", "/hosts/web-04/scan", expect=202, **sent)
    async with api.raw("POST", "/hosts/web-04/scan", **sent) as again:
        assert again.status == 202
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["Location"].endswith(first["id"])
        assert await again.json() == first
    other = await api.call(
        "POST", "/hosts/web-04/scan", body={"subsystem": "apt"}, headers=sent["headers"], expect=422
    )
    assert other["code"] == "idempotency_mismatch"
    # Another operator's key of the same text is another key.
    problem = await api.call("POST", "/hosts/web-04/scan", key="write", expect=409, **sent)
    assert problem["code"] == "already_pending"
    await api.call(
        "POST", "/hosts/web-04/scan", body={}, headers={"Idempotency-Key": "has space"}, expect=400
    )


async def test_a_refused_request_may_be_sent_again_with_its_key(api: Api) -> None:
    sent: dict[str, Any] = {"body": {}, "headers": {"Idempotency-Key": "k"}}
    await api.call("POST", "/hosts/web-04/scan", expect=404, **sent)
    await api.add_host()
    await api.call("POST", "/hosts/web-04/scan", expect=202, **sent)


async def test_the_same_request_at_once_is_one_command(api: Api) -> None:
    await api.add_host()
    sent: dict[str, Any] = {"body": {}, "headers": {"Idempotency-Key": "burst"}}
    answers = await asyncio.gather(
        *(api.call("POST", "/hosts/web-04/scan", expect=202, **sent) for _ in range(4))
    )
    assert len({one["id"] for one in answers}) == 1


async def test_the_fleet_is_counted(api: Api) -> None:
    first = await api.add_host("a", reboot_required=True)
    await api.add_host("b", state="pending")
    async with api.owner.begin() as session:
        await session.execute(
            text("UPDATE agent SET last_seen_at = :at WHERE hostname = 'b'"),
            {"at": CLOCK.now() - timedelta(hours=1)},
        )
    await api.add_update(first, "openssl", security=True)
    await api.add_update(first, "old", state="updated", security=True)
    await api.call("POST", "/hosts/a/scan", body={}, expect=202)
    fleet = await api.call("GET", "/fleet", key="read")
    assert fleet["hosts"] == {"active": 1, "pending": 1}
    assert fleet["seen_lately"] == 1
    assert fleet["reboot_required"] == 1
    assert fleet["updates"] == {"pending": 1}
    assert fleet["security"] == 1
    assert fleet["commands_pending"] == 1
    assert base64.b64encode(UUID(fleet["fleet"]).bytes)
