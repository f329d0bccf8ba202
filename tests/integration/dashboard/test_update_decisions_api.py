"""An operator's word on updates, one host or many; plans the host finds itself; and the way back."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.ids import new_id
from redflag_wire.plan import Plan, PlanItem
from tests.integration.dashboard.running_api import CLOCK, Api, add_command, upgrade_plan


@pytest.fixture
async def host(api: Api) -> UUID:
    agent = await api.add_host()
    for name in ("alpha", "beta", "gamma"):
        await api.add_update(agent, name)
    return agent


async def say(api: Api, word: str, expect: int = 200, **body: Any) -> Any:
    return await api.call("POST", f"/updates/{word}", body=body, expect=expect)


async def states(api: Api, host: str = "web-04") -> dict[str, str]:
    page = await api.call("GET", "/updates", host=host)
    return {one["name"]: one["state"] for one in page["items"]}


async def one(api: Api, sql: str) -> Any:
    async with api.owner() as session:
        return await session.scalar(text(sql))


async def test_reject_ignore_and_reset_are_words_with_an_intent_and_an_event_each(
    api: Api, host: UUID
) -> None:
    await say(api, "approve", host="web-04", packages=["alpha"])
    answer = await say(api, "reject", host="web-04", packages=["alpha"])
    assert (answer["count"], answer["hosts"], answer["already"]) == (1, 1, 0)
    assert answer["changed"][0]["approved_version"] is None
    assert (await say(api, "reject", host="web-04", packages=["alpha"]))["already"] == 1
    await say(api, "ignore", host="web-04", packages=["beta"])
    assert await states(api) == {"alpha": "rejected", "beta": "ignored", "gamma": "pending"}
    assert await one(api, "SELECT count(*) FROM approval WHERE lapsed_at IS NULL") == 0
    # All that ask for something: what is rejected and ignored is not among them.
    assert (await say(api, "approve", host="web-04", all=True))["count"] == 1
    assert (await say(api, "reset", host="web-04", all=True))["count"] == 3
    assert set((await states(api)).values()) == {"pending"}
    events = (await api.call("GET", "/updates/events", host="web-04", package="alpha"))["items"]
    assert [event["kind"] for event in events] == ["reset", "rejected", "approved"]
    verbs = await one(api, "SELECT string_agg(DISTINCT verb, ',' ORDER BY verb) FROM intent")
    assert verbs == "approve_updates,ignore_updates,reject_updates,reset_updates"


async def test_a_package_is_decided_on_all_hosts_that_list_the_candidate(api: Api, host: UUID) -> None:
    for number in range(4):
        agent = await api.add_host(f"db-{number}")
        await api.add_update(agent, "alpha", candidate="2.0" if number else "1.9")
    answer = await say(api, "approve", package="alpha", candidate="2.0")
    assert (answer["count"], answer["hosts"], answer["host_id"]) == (4, 4, None)
    assert len(answer["intent_ids"]) == 1  # one word: the same package on four hosts
    assert (await states(api, "db-0")) == {"alpha": "pending"}
    assert (await say(api, "reject", package="alpha"))["count"] == 5
    problem = await say(api, "ignore", package="nothing", expect=404)
    assert problem["code"] == "update_not_found"
    for body in (
        {"package": "alpha"},
        {"host": "web-04", "package": "alpha"},
        {"package": "alpha", "all": True},
        {},
    ):
        assert (await say(api, "approve", **body, expect=422))["code"] == "invalid_request"


async def test_what_a_command_works_on_is_left_alone(api: Api, host: UUID) -> None:
    async with api.owner.begin() as session:
        command = new_id(CLOCK)
        await add_command(session, host, command, "install_updates", "running")
        await session.execute(
            text("UPDATE package_state SET state = 'installing', command_id = :id WHERE name = 'alpha'"),
            {"id": command},
        )
    answer = await say(api, "reject", host="web-04", all=True)
    assert (answer["count"], answer["busy"]) == (2, 1)
    assert (await states(api))["alpha"] == "installing"


async def test_filters_and_columns_of_the_list(api: Api, host: UUID) -> None:
    await api.add_update(
        host, "delta", security=True, severity="critical", availability="phased", phased_percent=20, trusted=True,
        site="deb.example.org", reason="phased",
    )  # fmt: skip
    for query in (
        {"severity": "critical"},
        {"availability": "phased"},
        {"package": "delta"},
        {"security": True},
    ):
        page = await api.call("GET", "/updates", **query)
        assert [row["name"] for row in page["items"]] == ["delta"]
        assert page["total"] == 1
    assert (page["items"][0]["phased_percent"], page["items"][0]["site"]) == (20, "deb.example.org")
    assert page["counts"]["by_severity"] == {"": 3, "critical": 1}
    problem = await api.call("GET", "/updates", candidate="2.0", expect=422)
    assert problem["code"] == "invalid_request"


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_any_size_hold_every_row_once(api: Api, limit: int) -> None:
    wanted = []
    for number in range(3):
        agent = await api.add_host(f"web-{number}")
        for name in ("a", "b", "c")[: number + 1]:
            await api.add_update(agent, name, state="updated" if name == "b" and number == 1 else "pending")
            wanted.append((name, f"web-{number}"))
    wanted.remove(("b", "web-1"))
    found: list[tuple[str, str]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await api.call("GET", "/updates", limit=limit, **cursor)
        found += [(row["name"], row["hostname"]) for row in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert sorted(found) == sorted(wanted)
    assert [name for name, _ in found] == sorted(name for name, _ in found)


@pytest.mark.parametrize("mode", ["security", "full"])
async def test_a_plan_the_host_finds_itself_is_always_confirmed(api: Api, host: UUID, mode: str) -> None:
    body = {"host": "web-04", "mode": mode}
    command = await api.call("POST", "/updates/plan", body=body, expect=202)
    assert command["params"] == {"manager": "apt", "packages": [], "mode": mode}
    await api.call("POST", "/updates/plan", body={**body, "packages": ["alpha"]}, expect=422)
    exact = upgrade_plan("alpha")
    digest = await api.add_plan(host, Plan(manager="apt", mode=PlanMode(mode), request=[], items=exact.items))
    install = {"host": "web-04", "plan_digest": digest}
    problem = await api.call("POST", "/updates/install", body=install, expect=409)
    assert (problem["code"], [row["name"] for row in problem["missing"]]) == (
        "confirmation_required",
        ["alpha"],
    )
    confirmed = await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"})
    assert confirmed["mode"] == mode
    command = await api.call("POST", "/updates/install", body=install, expect=202)
    assert (command["kind"], command["params"]["mode"]) == ("install_updates", mode)
    assert (await states(api))["alpha"] == "installing"


async def history_of(api: Api, agent: UUID, name: str, old: str, new: str) -> None:
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO update_history (id, agent_id, manager, name, arch, old_version, new_version, action, "
                "result, stored_at) VALUES (:id, :agent, 'apt', :name, 'amd64', :old, :new, 'upgrade', 'succeeded', "
                "clock_timestamp())"
            ),
            {"id": new_id(CLOCK), "agent": agent, "name": name, "old": old, "new": new},
        )


async def test_a_rollback_is_a_plan_of_what_was_replaced_confirmed_and_carried_out(
    api: Api, host: UUID
) -> None:
    await history_of(api, host, "alpha", "0.9", "1.0")
    await history_of(api, host, "alpha", "1.0", "2.0")
    versions = await api.call("GET", "/updates/history", host="web-04", package="alpha")
    assert [(row["old_version"], row["new_version"]) for row in versions["items"]] == [
        ("1.0", "2.0"),
        ("0.9", "1.0"),
    ]
    problem = await say(api, "rollback", host="web-04", packages=["beta"], expect=404)
    assert problem["code"] == "update_not_found"
    problem = await say(
        api, "rollback", host="web-04", packages=[{"name": "alpha", "version": "0.1"}], expect=404
    )
    assert problem["missing"][0]["versions"] == ["1.0", "0.9"]
    command = await say(api, "rollback", host="web-04", packages=["alpha"], expect=202)
    back = {"name": "alpha", "arch": "amd64", "version": "1.0"}
    assert command["params"] == {"manager": "apt", "packages": [back], "mode": "rollback"}
    digest = await api.add_plan(
        host,
        Plan(
            manager="apt",
            mode=PlanMode.ROLLBACK,
            request=[PackageRef(**back)],
            items=[PlanItem(name="alpha", arch="amd64", old="2.0", new="1.0", origin="", action="downgrade")],
        ),
    )
    install = {"host": "web-04", "plan_digest": digest}
    assert (await api.call("POST", "/updates/install", body=install, expect=409))[
        "code"
    ] == "confirmation_required"
    await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"})
    command = await api.call("POST", "/updates/install", body=install, expect=202)
    assert command["kind"] == "rollback_update"
    assert command["params"] == {"manager": "apt", "packages": [back], "plan_digest": digest}


async def test_a_plan_that_was_carried_out_is_not_confirmed_any_more(api: Api, host: UUID) -> None:
    await say(api, "approve", host="web-04", packages=["alpha"])
    digest = await api.add_plan(host, upgrade_plan("alpha"))
    await api.call("POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=202)
    problem = await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"}, expect=409)
    assert (problem["code"], "being carried out" in problem["detail"]) == ("nothing_to_do", True)
    async with api.owner.begin() as session:
        await session.execute(
            text("UPDATE command SET envelope = '{}', state = 'succeeded' WHERE kind = 'install_updates'")
        )
    problem = await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"}, expect=409)
    assert (problem["code"], "carried out already" in problem["detail"]) == ("plan_outdated", True)
    # The host was brought back and says the same again: that is a plan of its own, and not used up.
    assert await api.add_plan(host, upgrade_plan("alpha")) == digest
    shown = await api.call("GET", f"/plans/{digest}?host=web-04")
    assert shown["last_install"] is None
    await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"})


async def test_updates_are_exported_as_csv_and_json(api: Api, host: UUID) -> None:
    async with api.http.get(
        f"{api.url}/api/v1/updates/export?format=csv&host=web-04",
        headers={"Authorization": f"Bearer {api.keys['read']}"},
    ) as response:
        lines = (await response.text()).splitlines()
    assert lines[0].startswith('"hostname","manager","name","arch"')
    assert len(lines) == 4
