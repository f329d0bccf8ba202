"""Restarting a host, asking it for its facts, and ten who ask for the same at once."""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

from sqlalchemy import text

from redflag_wire.envelope import parse_envelope
from redflag_wire.intent import Intent, IntentVerb
from tests.integration.dashboard.running_api import Api


async def intents(api: Api) -> list[Intent]:
    async with api.owner() as session:
        stored = await session.scalars(text("SELECT envelope FROM intent ORDER BY id"))
        return [Intent.from_bytes(parse_envelope(bytes(one)).payload) for one in stored]


async def count_commands(api: Api) -> int:
    async with api.owner() as session:
        return int(await session.scalar(text("SELECT count(*) FROM command")) or 0)


async def test_a_restart_is_asked_for_with_a_signed_intent(api: Api) -> None:
    host = await api.add_host()
    body = {"delay_s": 300, "reason": "new kernel"}
    asked = await api.call("POST", "/hosts/web-04/reboot", body=body, key="write", expect=202)
    assert (asked["kind"], asked["state"], asked["params"]) == ("reboot", "requested", body)
    (intent,) = await intents(api)
    assert (intent.verb, intent.targets, intent.params) == (IntentVerb.REBOOT, [host], body)
    again = await api.call("POST", "/hosts/web-04/reboot", body={}, expect=409)
    assert (again["code"], again["existing"]["id"]) == ("already_pending", asked["id"])


async def test_facts_are_asked_for(api: Api) -> None:
    await api.add_host()
    asked = await api.call("POST", "/hosts/web-04/collect-specs", key="write", expect=202)
    assert (asked["kind"], asked["params"]) == ("collect_specs", {})


_MISFITS: tuple[dict[str, Any], ...] = (
    {"delay_s": -1}, {"delay_s": 86_401}, {"delay_s": "60"}, {"delay_s": 1.5}, {"reason": "a\nb"},
    {"reason": "x" * 201}, {"reason": "\x1b[2J"}, {"force": True},
)  # fmt: skip


async def test_a_restart_that_does_not_fit_asks_for_nothing(api: Api) -> None:
    await api.add_host()
    for body in _MISFITS:
        problem = await api.call("POST", "/hosts/web-04/reboot", body=body, expect=422)
        assert problem["code"] == "invalid_request"
        assert problem["errors"][0]["where"] == f"body/{next(iter(body))}"
    assert await count_commands(api) == 0


async def test_only_known_and_active_hosts_are_asked(api: Api) -> None:
    await api.add_host("gone", state="revoked")
    for path in ("reboot", "collect-specs"):
        body: dict[str, Any] | None = {} if path == "reboot" else None
        refused = await api.call("POST", f"/hosts/gone/{path}", body=body, expect=409)
        assert (refused["code"], "revoked" in refused["detail"]) == ("host_not_active", True)
        unknown = await api.call("POST", f"/hosts/nowhere/{path}", body=body, expect=404)
        assert unknown["code"] == "host_not_found"
        await api.call("POST", f"/hosts/gone/{path}", body=body, key="read", expect=403)
    assert await count_commands(api) == 0


async def test_ten_clicks_at_once_make_one_command_and_nine_that_name_it(api: Api) -> None:
    await api.add_host()

    async def click() -> tuple[int, Any]:
        async with api.raw("POST", "/hosts/web-04/scan", body={}) as answer:
            return answer.status, json.loads(await answer.text())

    answers = await asyncio.gather(*(click() for _ in range(10)))
    for status, body in answers:
        print(status, body["id"] if status == 202 else f"{body['code']}: {body['detail']}")  # noqa: T201 - to be seen
    assert Counter(status for status, _ in answers) == {202: 1, 409: 9}
    (made,) = [body["id"] for status, body in answers if status == 202]
    assert {body["existing"]["id"] for status, body in answers if status == 409} == {made}
    assert {body["code"] for status, body in answers if status == 409} == {"already_pending"}
    assert await count_commands(api) == 1
    assert len(await intents(api)) == 1
    assert UUID(made) == UUID((await api.call("GET", "/commands"))["items"][0]["id"])
