"""Jobs over the API: who is asked, with what intents, and how far it is."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from redflag_wire.envelope import parse_envelope
from redflag_wire.ids import new_id
from redflag_wire.intent import Intent, IntentVerb
from tests.integration.dashboard.running_api import CLOCK, Api, add_command

APT = [{"manager": "apt", "can_install": True, "reason": None}]


async def intents(api: Api) -> list[Intent]:
    async with api.owner() as session:
        stored = await session.scalars(text("SELECT envelope FROM intent ORDER BY id"))
        return [Intent.from_bytes(parse_envelope(bytes(one)).payload) for one in stored]


async def start(api: Api, expect: int = 202, **body: Any) -> Any:
    return await api.call("POST", "/jobs", body=body, key="write", expect=expect)


async def test_a_job_asks_the_hosts_there_are_now(api: Api) -> None:
    hosts = [await api.add_host(f"web-{number:02}", capabilities=APT) for number in range(3)]
    await api.add_host("gone", state="revoked")
    job = await start(api, kind="scan", all=True, params={"subsystem": "apt"})
    assert (job["total"], job["waiting"], job["state"], job["ended"]) == (3, 3, "running", False)
    assert job["params"] == {"subsystem": "apt", "refresh": True, "full": False}
    (intent,) = await intents(api)
    assert (intent.verb, intent.targets, intent.params) == (IntentVerb.SCAN, hosts, job["params"])
    await api.add_host("later")
    shown = await api.call("GET", f"/jobs/{job['id']}", key="read")
    assert (shown["total"], shown["done"], shown["commands"]) == (3, 0, {})
    first = await api.call("GET", f"/jobs/{job['id']}/items", limit=2)
    rest = await api.call("GET", f"/jobs/{job['id']}/items", limit=2, cursor=first["next"])
    assert [one["hostname"] for one in first["items"] + rest["items"]] == ["web-00", "web-01", "web-02"]
    assert (first["total"], rest["next"]) == (3, None)
    listed = await api.call("GET", "/jobs", kind="scan", state="running")
    assert [one["id"] for one in listed["items"]] == [job["id"]]
    assert (await api.call("GET", "/jobs", kind="plan"))["total"] == 0


async def test_what_became_of_each_host_is_counted_and_named(api: Api) -> None:
    hosts = [await api.add_host(f"web-{number:02}") for number in range(3)]
    job = await start(api, kind="reboot", hosts=["web-00", "web-01", "web-02"], params={"delay_s": 0})
    made, existing = new_id(CLOCK), new_id(CLOCK)
    async with api.owner.begin() as session:  # as the dispatcher would
        await add_command(session, hosts[0], made, "reboot", "succeeded")
        await session.execute(
            text("UPDATE job_item SET state = 'made', command_id = :id WHERE position = 1"), {"id": made}
        )
        await session.execute(
            text(
                "UPDATE job_item SET state = 'refused', code = 'already_pending', existing_id = :id "
                "WHERE position = 2"
            ),
            {"id": existing},
        )
        await session.execute(text("UPDATE job SET made = 1, refused = 1"))
    shown = await api.call("GET", f"/jobs/{job['id']}")
    assert (shown["made"], shown["refused"], shown["waiting"], shown["done"]) == (1, 1, 1, 2)
    assert shown["commands"] == {"succeeded": 1}
    (refused,) = (await api.call("GET", f"/jobs/{job['id']}/items", state="refused"))["items"]
    assert (refused["hostname"], refused["existing_id"]) == ("web-01", str(existing))
    assert refused["reason"] == "another command does this already"
    (done,) = (await api.call("GET", f"/jobs/{job['id']}/items", state="made"))["items"]
    assert (done["command_id"], done["command_state"]) == (str(made), "succeeded")


async def test_a_filter_chooses_and_what_cannot_be_asked_is_named(api: Api) -> None:
    await api.add_host("web-00", tags={"env": "prod"}, capabilities=APT)
    await api.add_host("web-01", tags={"env": "prod"}, capabilities=[{"manager": "dnf"}])
    await api.add_host("web-02", tags={"env": "test"}, capabilities=APT)
    job = await start(api, kind="scan", filter={"tag": "env=prod"}, params={"subsystem": "apt"})
    assert (job["total"], job["left_out_count"]) == (1, 1)
    (left_out,) = job["left_out"]
    assert (left_out["hostname"], left_out["code"]) == ("web-01", "manager_unknown")
    later = await api.call("GET", f"/jobs/{job['id']}")
    assert (later["left_out"], later["left_out_count"]) == (job["left_out"], 1)
    nobody = await start(api, 409, kind="scan", filter={"q": "db"})
    assert (nobody["code"], nobody["detail"]) == ("no_hosts", "no active host matches")
    none = await start(api, 409, kind="scan", hosts=["web-01"], params={"subsystem": "apt"})
    assert "manager_unknown" in none["detail"]


async def test_plans_of_what_is_approved_share_intents_where_they_are_the_same(api: Api) -> None:
    hosts = [await api.add_host(f"web-{number:02}", capabilities=APT) for number in range(3)]
    for host, version in zip(hosts, ("2.0", "2.0", "3.0"), strict=True):
        await api.add_update(host, "alpha", candidate=version, state="approved", approved_version=version)
    job = await start(api, kind="plan", all=True)
    assert (job["kind"], job["params"], job["total"]) == ("plan", {"manager": "apt", "mode": "packages"}, 3)
    assert sorted(len(one.targets) for one in await intents(api)) == [1, 2]
    async with api.owner() as session:
        items = (
            await session.execute(text("SELECT agent_id, intent_id, params, dedupe_key FROM job_item"))
        ).all()
    by_intent = {one.intent: one for one in await intents(api)}
    for item in items:
        assert item.agent_id in by_intent[item.intent_id].targets
        assert item.params == by_intent[item.intent_id].params
        assert item.dedupe_key == "plan:apt"
    security = await start(api, kind="plan", hosts=["web-00"], params={"mode": "security"})
    assert security["params"] == {"manager": "apt", "mode": "security"}


async def test_a_job_is_stopped_once(api: Api) -> None:
    await api.add_host()
    job = await start(api, kind="collect_specs", all=True)
    stopped = await api.call("POST", f"/jobs/{job['id']}/cancel", key="write", expect=202)
    assert (stopped["state"], stopped["cancelled_by"]) == ("cancelling", "write")
    intent = (await intents(api))[-1]
    assert (intent.verb, intent.params) == (IntentVerb.CANCEL_COMMAND, {"job": job["id"]})
    again = await api.call("POST", f"/jobs/{job['id']}/cancel", expect=409)
    assert (again["code"], "cancelling already" in again["detail"]) == ("job_ended", True)


async def test_a_job_that_does_not_fit_asks_nobody(api: Api) -> None:
    await api.add_host()
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"kind": "scan"}, 422, "invalid_request"),
        ({"kind": "scan", "all": True, "params": {"subsystem": 7}}, 422, "invalid_request"),
        ({"kind": "scan", "all": True, "params": {"sub": "apt"}}, 422, "invalid_request"),
        ({"kind": "reboot", "all": True, "params": {"delay_s": 86_401}}, 422, "invalid_request"),
        ({"kind": "enable_heartbeat", "all": True}, 422, "invalid_request"),
        ({"kind": "plan", "all": True, "params": {"mode": "rollback"}}, 422, "invalid_request"),
        ({"kind": "plan", "all": True, "params": {"packages": []}}, 422, "invalid_request"),
        ({"kind": "scan", "hosts": ["nowhere"]}, 404, "host_not_found"),
        ({"kind": "scan", "filter": {"group": "nobody"}}, 404, "group_not_found"),
        ({"kind": "plan", "all": True}, 409, "no_hosts"),
    ]
    for body, status, code in wrong:
        assert (await start(api, status, **body))["code"] == code, body
    unknown = f"/jobs/{UUID(int=7)}"
    for path in (unknown, f"{unknown}/items"):
        assert (await api.call("GET", path, expect=404))["code"] == "job_not_found"
    assert (await api.call("POST", f"{unknown}/cancel", expect=404))["code"] == "job_not_found"
    await api.call("POST", "/jobs", body={"kind": "scan", "all": True}, key="read", expect=403)
    async with api.owner() as session:
        assert (
            await session.scalar(text("SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM intent)"))
            == 0
        )
