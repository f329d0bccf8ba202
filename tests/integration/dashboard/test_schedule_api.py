"""Settings, subsystems with their defaults, and fast mode, as operators set and see them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from redflag_store.fleet_settings import CATALOG
from redflag_store.tables import AgentGroup, AgentGroupMember, Subsystem
from redflag_wire.envelope import parse_envelope
from redflag_wire.ids import new_id
from redflag_wire.intent import Intent
from tests.integration.dashboard.running_api import CLOCK, Api

JITTER = "/settings/scheduler.jitter_percent"


async def intents(api: Api) -> list[Intent]:
    async with api.owner() as session:
        rows = await session.scalars(text("SELECT envelope FROM intent ORDER BY at, id"))
        return [Intent.from_bytes(parse_envelope(row).payload) for row in rows]


async def add_subsystems(api: Api, agent: UUID, *names: str) -> None:
    await api.add(
        *(
            Subsystem(agent_id=agent, name=name, plan_interval_s=900, plan_timeout_s=60, planned_rev=7)
            for name in names
        )
    )


async def add_group(api: Api, name: str, *agents: UUID) -> UUID:
    now = CLOCK.now()
    group = AgentGroup(id=new_id(CLOCK), name=name, created_at=now, created_by="admin")
    await api.add(group)
    await api.add(
        *(
            AgentGroupMember(group_id=group.id, agent_id=agent, added_at=now, added_by="admin")
            for agent in agents
        )
    )
    return group.id


async def test_settings_come_in_pages_with_bounds_and_defaults(api: Api) -> None:
    first = await api.call("GET", "/settings", limit=30)
    rest = await api.call("GET", "/settings", limit=500, cursor=first["next"])
    items = first["items"] + rest["items"]
    assert [one["key"] for one in items] == sorted(CATALOG)
    assert (first["total"], rest["next"]) == (len(CATALOG), None)
    shown = await api.call("GET", JITTER)
    assert shown["value"] == shown["default"] == 10
    assert (shown["unit"], shown["least"], shown["most"]) == ("percent", 0, 50)
    version = await api.call("GET", "/settings/agents.minimum_version")
    assert (version["value"], version["least"], version["most"]) == (None, None, None)
    assert (await api.call("GET", "/settings", q="JITTER"))["total"] == 1


async def test_a_setting_is_changed_by_a_signed_intent_and_brought_back(api: Api) -> None:
    answer = await api.call("POST", JITTER, body={"value": 25})
    assert (answer["setting"]["value"], answer["setting"]["changed_by"]) == (25, "admin")
    (intent,) = await intents(api)
    assert str(intent.intent) == answer["intent_id"]
    assert (intent.verb, intent.targets) == ("change_setting", [])
    assert intent.params == {"key": "scheduler.jitter_percent", "value": 25, "reset": False}
    changed = await api.call("GET", "/settings", changed="true")
    assert [one["key"] for one in changed["items"]] == ["scheduler.jitter_percent"]
    answer = await api.call("POST", f"{JITTER}/reset")
    assert (answer["setting"]["value"], answer["setting"]["changed_at"]) == (10, None)
    assert (await intents(api))[1].params["reset"] is True
    version = {"value": "1.2.3"}
    assert (await api.call("POST", "/settings/agents.minimum_version", body=version))["setting"][
        "value"
    ] == "1.2.3"


@pytest.mark.parametrize("value", [-1, 51, "10", True, 1.5, None, [10], 2**50])
async def test_a_value_that_does_not_fit_changes_nothing(api: Api, value: Any) -> None:
    problem = await api.call("POST", JITTER, body={"value": value}, expect=422)
    assert problem["code"] == "invalid_request"
    assert await intents(api) == []
    assert (await api.call("GET", JITTER))["value"] == 10


async def test_only_an_admin_changes_settings_and_unknown_ones_are_named(api: Api) -> None:
    for key in ("read", "write"):
        await api.call("POST", JITTER, body={"value": 1}, key=key, expect=403)
        await api.call("POST", f"{JITTER}/reset", key=key, expect=403)
        await api.call("POST", "/subsystem-defaults/apt", body={"enabled": False}, key=key, expect=403)
    problem = await api.call("POST", "/settings/no.such", body={"value": 1}, expect=404)
    assert problem["code"] == "setting_not_found"
    await api.call("GET", "/settings/no.such", expect=404)
    await api.call("POST", "/settings/no.such/reset", expect=404)


async def test_what_holds_is_shown_with_where_it_comes_from(api: Api) -> None:
    agent = await api.add_host()
    await add_subsystems(api, agent, "apt", "system")
    await add_group(api, "web", agent)
    await add_group(api, "db", agent)
    await api.call("POST", "/subsystem-defaults/apt", body={"interval_s": 7200, "timeout_s": 100})
    await api.call(
        "POST", "/subsystem-defaults/apt", body={"group": "web", "interval_s": 3600, "priority": 5}
    )
    await api.call("POST", "/subsystem-defaults/apt", body={"group": "db", "interval_s": 1800, "priority": 9})
    changed = await api.call("POST", "/hosts/web-04/subsystems/apt", body={"auto_run": False})
    shown = changed["subsystem"]
    assert shown["values"]["interval_s"] == 1800
    assert shown["values"]["timeout_s"] == 100
    assert shown["next_run_at"] is None
    assert {name: shown["sources"][name] for name in ("auto_run", "interval_s", "timeout_s", "enabled")} == {
        "auto_run": "host",
        "interval_s": "group:db",
        "timeout_s": "fleet",
        "enabled": "built-in",
    }
    assert shown["changed_by"] == "admin"
    listed = await api.call("GET", "/hosts/web-04/subsystems")
    assert [one["name"] for one in listed["items"]] == ["apt", "system"]
    assert listed["items"][0] == shown == await api.call("GET", "/hosts/web-04/subsystems/apt")
    assert listed["items"][1]["values"]["interval_s"] == 900
    intent = (await intents(api))[-1]
    assert (intent.verb, intent.targets) == ("change_subsystem", [agent])
    assert intent.params == {"subsystem": "apt", "values": {"auto_run": False}}
    async with api.owner() as session:
        planned = await session.scalar(text("SELECT planned_rev FROM subsystem WHERE name = 'apt'"))
        assert planned == 0
        assert await session.scalar(text("SELECT revision FROM subsystem_revision")) == 4


async def test_who_comes_into_a_group_or_loses_it_is_planned_anew(api: Api) -> None:
    agent, other = await api.add_host(), await api.add_host("other")
    await add_subsystems(api, agent, "apt", "system")
    await add_subsystems(api, other, "apt")
    await add_group(api, "web")
    await api.call("POST", "/subsystem-defaults/apt", body={"group": "web", "interval_s": 60})

    async def to_plan() -> list[tuple[str, str]]:
        async with api.owner.begin() as session:
            found = await session.execute(
                text(
                    "SELECT a.hostname, s.name FROM subsystem s JOIN agent a ON a.id = s.agent_id "
                    "WHERE s.planned_rev = 0 ORDER BY 1, 2"
                )
            )
            await session.execute(text("UPDATE subsystem SET planned_rev = 7"))
            return [(row.hostname, row.name) for row in found]

    for action in ("add", "remove", "add"):
        await api.call("POST", f"/groups/web/{action}", body={"hosts": ["web-04"]})
        assert await to_plan() == [("web-04", "apt")], action
    shown = await api.call("GET", "/hosts/web-04/subsystems/apt")
    assert (shown["values"]["interval_s"], shown["sources"]["interval_s"]) == (60, "group:web")
    async with api.owner() as session:
        before = await session.scalar(text("SELECT revision FROM subsystem_revision"))
    await api.call("POST", "/groups/web/delete")
    async with api.owner() as session:
        assert await session.scalar(text("SELECT revision FROM subsystem_revision")) == before + 1
    assert (await api.call("GET", "/subsystem-defaults"))["total"] == 0
    shown = await api.call("GET", "/hosts/web-04/subsystems/apt")
    assert shown["sources"]["interval_s"] == "built-in"


async def test_null_takes_a_value_back_and_an_empty_default_goes(api: Api) -> None:
    agent = await api.add_host()
    await add_subsystems(api, agent, "apt")
    await api.call("POST", "/hosts/web-04/subsystems/apt", body={"interval_s": 60, "timeout_s": 10})
    answer = await api.call("POST", "/hosts/web-04/subsystems/apt", body={"interval_s": None})
    assert answer["subsystem"]["sources"]["interval_s"] == "built-in"
    assert answer["subsystem"]["values"]["timeout_s"] == 10
    await api.call("POST", "/subsystem-defaults/apt", body={"interval_s": 60})
    kept = await api.call("POST", "/subsystem-defaults/apt", body={"enabled": False})
    assert (kept["default"]["values"]["interval_s"], kept["default"]["values"]["enabled"]) == (60, False)
    await api.call("POST", "/subsystem-defaults/apt", body={"interval_s": None})
    gone = await api.call("POST", "/subsystem-defaults/apt", body={"enabled": None})
    assert gone["default"] is None
    assert (await api.call("GET", "/subsystem-defaults"))["total"] == 0


async def test_defaults_come_in_pages_and_by_group(api: Api) -> None:
    group = await add_group(api, "web")
    for name in ("apt", "dnf", "system"):
        await api.call("POST", f"/subsystem-defaults/{name}", body={"enabled": True})
    await api.call("POST", "/subsystem-defaults/apt", body={"group": str(group), "enabled": True})
    first = await api.call("GET", "/subsystem-defaults", limit=3)
    rest = await api.call("GET", "/subsystem-defaults", limit=3, cursor=first["next"])
    assert [one["subsystem"] for one in first["items"] + rest["items"]] == ["apt", "apt", "dnf", "system"]
    (only,) = (await api.call("GET", "/subsystem-defaults", group="WEB"))["items"]
    assert (only["group"], only["priority"]) == ("web", 100)
    assert (await api.call("GET", "/subsystem-defaults", fleet="true"))["total"] == 3
    raised = await api.call("POST", "/subsystem-defaults/apt", body={"group": "web", "priority": 7})
    assert (raised["default"]["priority"], raised["default"]["values"]["enabled"]) == (7, True)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/hosts/web-04/subsystems/apt", {"interval_s": 59}, 422, "invalid_request"),
        ("/hosts/web-04/subsystems/apt", {"interval_s": 86_401}, 422, "invalid_request"),
        ("/hosts/web-04/subsystems/apt", {"interval": 60}, 422, "invalid_request"),
        ("/hosts/web-04/subsystems/apt", {"enabled": 1}, 422, "invalid_request"),
        ("/hosts/web-04/subsystems/apt", {}, 409, "nothing_to_do"),
        ("/hosts/web-04/subsystems/snap", {"enabled": True}, 404, "subsystem_not_found"),
        ("/hosts/web-04/subsystems/all", {"enabled": True}, 422, "invalid_request"),
        ("/hosts/nobody/subsystems/apt", {"enabled": True}, 404, "host_not_found"),
        ("/subsystem-defaults/apt", {"priority": 1}, 422, "invalid_request"),
        ("/subsystem-defaults/apt", {"group": "none", "enabled": True}, 404, "group_not_found"),
        ("/hosts/web-04/fast-mode", {"duration_s": 59}, 422, "invalid_request"),
        ("/hosts/web-04/fast-mode", {"duration_s": 86_401}, 422, "invalid_request"),
        ("/hosts/web-04/fast-mode", {}, 422, "invalid_request"),
    ],
)
async def test_bad_input_is_refused_and_changes_nothing(
    api: Api, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    await add_subsystems(api, await api.add_host(), "apt")
    problem = await api.call("POST", path, body=body, expect=status)
    assert problem["code"] == code
    assert await intents(api) == []


async def test_fast_mode_asked_for_twice_is_one_command(api: Api) -> None:
    await api.add_host()
    command = await api.call("POST", "/hosts/web-04/fast-mode", body={"duration_s": 600}, expect=202)
    assert (command["kind"], command["params"]) == ("enable_heartbeat", {"duration_s": 600})
    for body in ({"duration_s": 600}, {"duration_s": None}):
        problem = await api.call("POST", "/hosts/web-04/fast-mode", body=body, expect=409)
        assert problem["existing"]["id"] == command["id"]
    async with api.owner.begin() as session:
        await session.execute(text("UPDATE command SET state = 'succeeded', envelope = '{}'"))
    stop = await api.call("POST", "/hosts/web-04/fast-mode/stop", expect=202)
    assert stop["kind"] == "disable_heartbeat"
    assert [intent.verb for intent in await intents(api)] == ["enable_heartbeat", "disable_heartbeat"]


async def test_fast_mode_is_shown_until_its_end(api: Api) -> None:
    now = CLOCK.now()
    await api.add_host("on", fast_until=now + timedelta(hours=1))
    await api.add_host("over", fast_until=now - timedelta(seconds=1))
    await api.add_host("always", fast_forever=True)
    shown = {
        name: await api.call("GET", f"/hosts/{name}/fast-mode", key="read")
        for name in ("on", "over", "always")
    }
    assert [one["on"] for one in shown.values()] == [True, False, True]
    assert shown["over"]["until"] is None
    assert shown["on"]["until"] is not None
    assert shown["always"]["until_stopped"] is True
