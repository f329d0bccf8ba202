"""Cancelling and retrying commands: who is told what, and what is stored."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from redflag_wire.envelope import parse_envelope
from redflag_wire.ids import new_id
from redflag_wire.intent import Intent, IntentVerb
from tests.integration.dashboard.running_api import CLOCK, Api, add_command


async def asked_scan(api: Api, host: str = "web-04") -> dict[str, Any]:
    found: dict[str, Any] = await api.call("POST", f"/hosts/{host}/scan", body={}, expect=202)
    return found


async def end(api: Api, command: str, state: str, **columns: Any) -> None:
    """End a command as the dispatcher would."""
    changes = {"state": state, "envelope": b"{}", **columns}
    names = ", ".join(f"{name} = :{name}" for name in changes)
    async with api.owner.begin() as session:
        await session.execute(
            text(f"UPDATE command SET {names}, finished_at = now() WHERE id = :id"),  # noqa: S608
            {**changes, "id": UUID(command)},
        )


async def test_cancelling_is_a_signed_command_that_names_the_other(api: Api) -> None:
    host = await api.add_host()
    scan = await asked_scan(api)
    cancel = await api.call("POST", f"/commands/{scan['id']}/cancel", key="write", expect=202)
    assert (cancel["kind"], cancel["params"]) == ("cancel", {"cmd": scan["id"]})
    async with api.owner() as session:
        newest = await session.scalar(text("SELECT envelope FROM intent ORDER BY id DESC LIMIT 1"))
    intent = Intent.from_bytes(parse_envelope(bytes(newest)).payload)
    assert (intent.verb, intent.targets) == (IntentVerb.CANCEL_COMMAND, [host])
    shown = await api.call("GET", f"/commands/{scan['id']}")
    assert shown["cancel"]["command_id"] == cancel["id"]
    assert (shown["cancel"]["state"], shown["cancel"]["requested_by"]) == ("requested", "write")


async def test_cancelling_twice_names_the_cancel(api: Api) -> None:
    await api.add_host()
    scan = await asked_scan(api)
    cancel = await api.call("POST", f"/commands/{scan['id']}/cancel", expect=202)
    again = await api.call("POST", f"/commands/{scan['id']}/cancel", expect=409)
    assert (again["code"], again["existing"]["id"]) == ("already_pending", cancel["id"])
    of_cancel = await api.call("POST", f"/commands/{cancel['id']}/cancel", expect=409)
    assert of_cancel["code"] == "not_cancellable"


async def test_cancelling_what_has_ended_says_how_it_ended(api: Api) -> None:
    await api.add_host()
    scan = await asked_scan(api)
    await end(api, scan["id"], "failed", code="lock_held")
    refused = await api.call("POST", f"/commands/{scan['id']}/cancel", expect=409)
    assert (refused["code"], refused["existing"]["state"]) == ("command_ended", "failed")
    assert "failed already" in refused["detail"]
    unknown = await api.call("POST", f"/commands/{new_id(CLOCK)}/cancel", expect=404)
    assert unknown["code"] == "command_not_found"
    await api.call("POST", "/commands/x/cancel", expect=422)
    await api.call("POST", f"/commands/{scan['id']}/cancel", key="read", expect=403)
    assert (await api.call("GET", "/commands", kind="cancel"))["total"] == 0


async def test_a_retry_is_a_new_command_and_there_is_one(api: Api) -> None:
    await api.add_host()
    scan = await asked_scan(api)
    running = await api.call("POST", f"/commands/{scan['id']}/retry", expect=409)
    assert (running["code"], running["existing"]["id"]) == ("not_ended", scan["id"])
    await end(api, scan["id"], "failed", code="mirror_unreachable")
    retry = await api.call("POST", f"/commands/{scan['id']}/retry", key="write", expect=202)
    assert (retry["retry_of"], retry["retry_depth"], retry["params"]) == (scan["id"], 1, scan["params"])
    again = await api.call("POST", f"/commands/{scan['id']}/retry", expect=409)
    assert (again["code"], again["existing"]["id"]) == ("already_retried", retry["id"])
    assert retry["id"] in again["detail"]
    first = await api.call("GET", f"/commands/{scan['id']}")
    assert (first["retried_by"], first["reason"]) == (retry["id"], "the package mirror could not be reached")
    (listed,) = (await api.call("GET", "/commands", retry_of=scan["id"]))["items"]
    assert listed["id"] == retry["id"]


async def test_retries_of_retries_end(api: Api) -> None:
    host = await api.add_host()
    deep = new_id(CLOCK)
    async with api.owner.begin() as session:
        await add_command(session, host, deep, "scan", "failed", retry_depth=10)
    refused = await api.call("POST", f"/commands/{deep}/retry", expect=409)
    assert (refused["code"], "10 retries" in refused["detail"]) == ("retry_too_deep", True)


async def test_a_retry_goes_through_the_checks_of_a_first_request(api: Api) -> None:
    host = await api.add_host()
    ids = {kind: new_id(CLOCK) for kind in ("install_updates", "dry_run_update", "cancel", "reboot")}
    packages = [{"name": "alpha", "arch": "amd64", "version": "2.0"}]
    params: dict[str, dict[str, Any]] = {
        "install_updates": {"manager": "apt", "packages": packages, "plan_digest": "sha256:" + "a" * 64},
        "dry_run_update": {"manager": "apt", "packages": packages},
        "cancel": {"cmd": str(new_id(CLOCK))},
        "reboot": {"delay_s": 90, "reason": "kernel"},
    }
    async with api.owner.begin() as session:
        for kind, command in ids.items():
            await add_command(session, host, command, kind, "failed", params=params[kind])
    outcome = {
        kind: (await api.call("POST", f"/commands/{command}/retry", expect=404 if kind != "cancel" else 409))[
            "code"
        ]
        for kind, command in ids.items()
        if kind != "reboot"
    }
    assert outcome == {
        "install_updates": "plan_not_found", "dry_run_update": "update_not_found", "cancel": "not_retryable",
    }  # fmt: skip
    reboot = await api.call("POST", f"/commands/{ids['reboot']}/retry", expect=202)
    assert reboot["params"] == params["reboot"]
    async with api.owner.begin() as session:
        await session.execute(text("UPDATE agent SET state = 'revoked'"))
    await end(api, reboot["id"], "expired")
    refused = await api.call("POST", f"/commands/{reboot['id']}/retry", expect=409)
    assert refused["code"] == "host_not_active"


async def test_too_much_for_one_host_is_refused_with_a_time(api: Api) -> None:
    await api.add_host()
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO setting (key, value, changed_by, changed_at) "
                "VALUES ('limits.agent_commands_burst', '1', 'test', now())"
            )
        )
    await api.call("POST", "/hosts/web-04/collect-specs", expect=202)
    async with api.raw("POST", "/hosts/web-04/scan", body={}) as answer:
        body = await answer.json(content_type=None)
        assert (answer.status, body["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) == body["retry_after_s"] >= 1
    cancelled = (await api.call("GET", "/commands"))["items"][0]["id"]
    await api.call("POST", f"/commands/{cancelled}/cancel", expect=202)  # never held back


async def test_an_agent_below_the_minimum_is_asked_for_nothing_but_its_end(api: Api) -> None:
    await api.add_host(agent_version="0.1.0")
    scan = await asked_scan(api)
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO setting (key, value, changed_by, changed_at) "
                "VALUES ('agents.minimum_version', '\"0.2.0\"', 'test', now())"
            )
        )
    refused = await api.call("POST", "/hosts/web-04/reboot", body={}, expect=409)
    assert (refused["code"], refused["minimum_version"]) == ("agent_too_old", "0.2.0")
    await api.call("POST", f"/commands/{scan['id']}/cancel", expect=202)


async def test_commands_are_found_by_who_asked_when_and_where(api: Api) -> None:
    web = await api.add_host("web-04", os_id="debian", tags={"env": "prod"})
    await api.add_host("db-01", os_id="fedora")
    await asked_scan(api, "web-04")
    between = CLOCK.now().isoformat()
    await asked_scan(api, "db-01")
    async with api.owner.begin() as session:
        await add_command(session, web, new_id(CLOCK), "scan", "succeeded")  # by RedFlag itself

    async def total(**query: Any) -> int:
        return int((await api.call("GET", "/commands", **query))["total"])

    assert await total() == 3
    assert await total(source="system") == 1
    assert await total(source="manual", until=between) == 1
    assert await total(since=between, until=CLOCK.now().isoformat()) == 2
    assert await total(tag="env=prod") == 2
    assert await total(os="fedora") == 1
    assert await total(under="db-01") == 1
    missing = await api.call("GET", "/commands", group="nobody", expect=404)
    assert missing["code"] == "group_not_found"
    wrongs: tuple[dict[str, Any], ...] = (
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"source": "me"},
        {"state": "x"},
    )
    for wrong in wrongs:
        assert (await api.call("GET", "/commands", expect=422, **wrong))["code"] == "invalid_request"


async def test_history_is_exported_whole_and_safe_for_spreadsheets(api: Api) -> None:
    host = await api.add_host("=cmd()")
    await api.add_host("db-01")
    reboot = {"delay_s": 60, "reason": "kernel"}
    async with api.owner.begin() as session:
        await add_command(
            session, host, new_id(CLOCK), "reboot", "succeeded", params=reboot, duration_ms=98_000
        )  # fmt: skip
        await add_command(session, host, new_id(CLOCK), "scan", "requested")
        await add_command(session, host, new_id(CLOCK), "cancel", "failed", code="too_late")
    exported = await api.call("GET", "/history/export", key="read")
    assert exported["count"] == 2
    assert exported["items"][1]["text"] == "Restarted after 1 min, back in 38 s (kernel)"
    async with api.raw("GET", "/history/export", format="csv", kind="reboot") as answer:
        lines = (await answer.text()).splitlines()
    assert lines[0].startswith('"requested_at","finished_at","hostname","kind","what",')
    assert "'=cmd()" in lines[1]
    assert len(lines) == 2
    assert (await api.call("GET", "/history/export", host="db-01"))["items"] == []
    assert (await api.call("GET", "/history", kind="cancel"))["items"][0]["code"] == "too_late"
