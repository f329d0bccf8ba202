"""From a pending update to an install command, and every way it is refused on the way."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from redflag_dispatcher.intent_check import RequestedCommand, check_command, check_intent
from tests.integration.dashboard.running_api import (
    CLOCK,
    Api,
    install_of,
    removal,
    upgrade_plan,
)


@pytest.fixture
async def host(api: Api) -> UUID:
    agent = await api.add_host()
    for name in ("alpha", "beta", "gamma"):
        await api.add_update(agent, name)
    return agent


async def approve(api: Api, *packages: Any) -> Any:
    return await api.call("POST", "/updates/approve", body={"host": "web-04", "packages": list(packages)})


async def states(api: Api) -> dict[str, str]:
    page = await api.call("GET", "/updates", host="web-04")
    return {one["name"]: one["state"] for one in page["items"]}


async def end_all_commands(api: Api, state: str = "expired") -> None:
    async with api.owner.begin() as session:
        await session.execute(text("UPDATE command SET envelope = '{}', state = :state"), {"state": state})


async def test_counts_are_over_everything_not_the_page(api: Api, host: UUID) -> None:
    other = await api.add_host("db-01")
    await api.add_update(other, "alpha", security=True, availability="held")
    await api.add_update(other, "done", state="updated", security=True)
    page = await api.call("GET", "/updates", limit=1)
    assert [one["name"] for one in page["items"]] == ["alpha"]
    assert page["total"] == 4
    assert page["counts"] == {
        "by_state": {"pending": 4, "updated": 1}, "by_severity": {"": 4}, "security": 1, "held_back": 1, "hosts": 2,
    }  # fmt: skip
    seen = []
    cursor: dict[str, Any] = {}
    while True:
        page = await api.call("GET", "/updates", limit=3, **cursor)
        seen += [(one["name"], one["hostname"]) for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == [("alpha", "web-04"), ("alpha", "db-01"), ("beta", "web-04"), ("gamma", "web-04")]
    assert (await api.call("GET", "/updates", security="true"))["total"] == 1
    assert (await api.call("GET", "/updates", state="updated"))["total"] == 1
    assert (await api.call("GET", "/updates", name="MM"))["total"] == 1
    only_host = await api.call("GET", "/updates", host="db-01", state="approved")
    assert only_host["total"] == 0
    assert only_host["counts"]["by_state"] == {"pending": 1, "updated": 1}


async def test_an_approval_is_for_the_version_that_is_there(api: Api, host: UUID) -> None:
    answer = await approve(
        api, "alpha", {"name": "beta", "manager": "apt", "arch": "amd64", "version": "2.0"}
    )
    assert [(one["name"], one["approved_version"]) for one in answer["approved"]] == [
        ("alpha", "2.0"), ("beta", "2.0"),
    ]  # fmt: skip
    assert await states(api) == {"alpha": "approved", "beta": "approved", "gamma": "pending"}
    async with api.owner() as session:
        rows = (await session.execute(text("SELECT name, version, operator, intent_id FROM approval"))).all()
        assert {(row.name, row.version, row.operator) for row in rows} == {
            ("alpha", "2.0", "admin"), ("beta", "2.0", "admin"),
        }  # fmt: skip
        events = await session.scalar(text("SELECT count(*) FROM update_event WHERE kind = 'approved'"))
        envelope = await session.scalar(text("SELECT envelope FROM intent"))
    assert events == 2
    intent = check_intent(bytes(envelope), [api.parts.intent_key.public], fleet=str(api.parts.fleet)).intent
    assert intent.verb == "approve_updates"
    assert intent.targets == [host]
    again = await approve(api, "alpha")
    assert again["approved"] == []
    assert again["already_approved"] == 1


async def test_nothing_is_approved_when_one_name_does_not_fit(api: Api, host: UUID) -> None:
    for wrong in ("nope", {"name": "beta", "version": "3.0"}, {"name": "beta", "arch": "arm64"}):
        problem = await api.call(
            "POST", "/updates/approve", body={"host": "web-04", "packages": ["alpha", wrong]}, expect=404
        )
        assert problem["code"] == "update_not_found"
        assert len(problem["missing"]) == 1
    assert set((await states(api)).values()) == {"pending"}


async def test_a_name_of_several_architectures_must_say_which(api: Api, host: UUID) -> None:
    await api.add_update(host, "alpha", arch="i386")
    problem = await api.call(
        "POST", "/updates/approve", body={"host": "web-04", "packages": ["alpha"]}, expect=409
    )
    assert problem["code"] == "package_ambiguous"
    answer = await approve(api, "alpha:i386")
    assert [one["arch"] for one in answer["approved"]] == ["i386"]


async def test_all_and_security_approve_what_they_say(api: Api, host: UUID) -> None:
    await api.add_update(host, "openssl", security=True)
    await api.add_update(host, "ignored", security=True, state="ignored")
    answer = await api.call("POST", "/updates/approve", body={"host": "web-04", "security": True})
    assert [one["name"] for one in answer["approved"]] == ["openssl"]
    answer = await api.call("POST", "/updates/approve", body={"host": "web-04", "all": True})
    assert [one["name"] for one in answer["approved"]] == ["alpha", "beta", "gamma"]
    assert answer["already_approved"] == 1


async def test_four_thousand_updates_are_approved_at_once(api: Api) -> None:
    agent = await api.add_host("big")
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, availability, "
                "state, first_seen_at, changed_at) SELECT :agent, 'apt', 'package-with-a-long-name-' || n, "
                "'amd64', '1.0', '2:1.0+dfsg-' || n, 'available', 'pending', now(), now() "
                "FROM generate_series(1, 4000) n"
            ),
            {"agent": agent},
        )
    answer = await api.call("POST", "/updates/approve", body={"host": "big", "all": True})
    assert len(answer["approved"]) == 4000
    assert len(answer["intent_ids"]) == 4
    problem = await api.call("POST", "/updates/plan", body={"host": "big"}, expect=422)
    assert problem["code"] == "too_many_packages"


async def test_a_plan_is_of_the_approved_updates_unless_named(api: Api, host: UUID) -> None:
    problem = await api.call("POST", "/updates/plan", body={"host": "web-04"}, expect=409)
    assert problem["code"] == "nothing_to_do"
    await approve(api, "alpha", "beta")
    command = await api.call("POST", "/updates/plan", body={"host": "web-04"}, expect=202)
    assert command["kind"] == "dry_run_update"
    assert command["params"] == {
        "manager": "apt",
        "packages": [
            {"name": "alpha", "arch": "amd64", "version": "2.0"},
            {"name": "beta", "arch": "amd64", "version": "2.0"},
        ],
        "mode": "packages",
    }
    assert (await states(api))["alpha"] == "checking_dependencies"
    problem = await api.call(
        "POST", "/updates/plan", body={"host": "web-04", "packages": ["gamma"]}, expect=409
    )
    assert problem["code"] == "already_pending"
    assert problem["existing"]["id"] == command["id"]
    await end_all_commands(api)
    assert (await states(api))["alpha"] == "approved"
    await api.call("POST", "/updates/plan", body={"host": "web-04", "packages": ["gamma"]}, expect=202)
    assert (await states(api))["gamma"] == "checking_dependencies"


async def test_packages_of_two_managers_make_no_single_plan(api: Api, host: UUID) -> None:
    await api.add_update(host, "snapd", manager="snap")
    body = {"host": "web-04", "packages": ["alpha", "snapd"]}
    problem = await api.call("POST", "/updates/plan", body=body, expect=409)
    assert problem["code"] == "manager_ambiguous"
    command = await api.call("POST", "/updates/plan", body={**body, "manager": "snap"}, expect=202)
    assert [one["name"] for one in command["params"]["packages"]] == ["snapd"]


async def test_a_plan_of_just_the_approved_packages_is_installed(api: Api, host: UUID) -> None:
    await approve(api, "alpha")
    digest = await api.add_plan(host, upgrade_plan("alpha"))
    command = await api.call(
        "POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=202
    )
    assert command["kind"] == "install_updates"
    assert command["params"]["plan_digest"] == digest
    assert (await states(api))["alpha"] == "installing"
    async with api.owner() as session:
        row = (
            await session.execute(
                text(
                    "SELECT c.params, c.intent_id, i.envelope FROM command c JOIN intent i ON i.id = c.intent_id "
                    "WHERE c.kind = 'install_updates'"
                )
            )
        ).one()
    checked = check_intent(bytes(row.envelope), [api.parts.intent_key.public], fleet=str(api.parts.fleet))
    asked = RequestedCommand(UUID(command["id"]), host, row.intent_id, "install_updates", row.params)
    assert check_command(checked, asked, now=CLOCK.now()) == "install_updates"
    problem = await api.call(
        "POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=409
    )
    assert problem["code"] == "already_pending"


async def test_a_host_that_only_looks_is_asked_for_no_installation(api: Api) -> None:
    reason = "the helper does not run as root"
    agent = await api.add_host(capabilities=[{"manager": "apt", "can_install": False, "reason": reason}])
    await api.add_update(agent, "alpha")
    await approve(api, "alpha")
    digest = await api.add_plan(agent, upgrade_plan("alpha"))
    plans = await api.call("GET", "/plans", host="web-04")
    assert plans["items"][0]["cannot_install"] == reason
    problem = await api.call(
        "POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=409
    )
    assert (problem["code"], problem["reason"]) == ("host_cannot_install", reason)
    assert reason in problem["detail"]
    assert "as root" in problem["detail"]
    assert (await api.call("GET", "/commands", kind="install_updates"))["total"] == 0


async def test_a_plan_that_does_more_is_installed_only_when_confirmed(api: Api, host: UUID) -> None:
    await approve(api, "alpha")
    digest = await api.add_plan(host, upgrade_plan("alpha", extra=(install_of("lib"), removal("old"))))
    install = {"host": "web-04", "plan_digest": digest}
    problem = await api.call("POST", "/updates/install", body=install, expect=409)
    assert problem["code"] == "confirmation_required"
    assert [(one["name"], one["action"]) for one in problem["missing"]] == [
        ("old", "remove"), ("lib", "install"),
    ]  # fmt: skip
    (listed,) = (await api.call("GET", "/plans", host="web-04"))["items"]
    assert listed["needs_confirmation"]
    await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"}, key="read", expect=403)
    confirmed = await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"})
    assert confirmed["confirmed_by"] == "admin"
    assert not confirmed["needs_confirmation"]
    again = await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"}, key="write")
    assert again["confirmed_by"] == "admin"
    shown = await api.call("GET", f"/plans/{digest}", host="web-04")
    assert [(one["name"], one["asked"]) for one in shown["items"]] == [
        ("alpha", True), ("lib", False), ("old", False),
    ]  # fmt: skip
    assert shown["last_install"] is None
    command = await api.call("POST", "/updates/install", body=install, expect=202)
    shown = await api.call("GET", f"/plans/{digest}", host="web-04")
    assert shown["last_install"]["command_id"] == command["id"]


async def test_an_unapproved_or_changed_package_is_not_installed(api: Api, host: UUID) -> None:
    await approve(api, "alpha")
    digest = await api.add_plan(host, upgrade_plan("alpha", "beta"))
    install = {"host": "web-04", "plan_digest": digest}
    problem = await api.call("POST", "/updates/install", body=install, expect=409)
    assert problem["code"] == "not_approved"
    assert problem["missing"] == [{"name": "beta", "arch": "amd64", "planned": "2.0", "approved": None}]
    await approve(api, "beta")
    async with api.owner.begin() as session:
        await session.execute(
            text("UPDATE package_state SET approved_version = '2.1', candidate = '2.1' WHERE name = 'beta'")
        )
    problem = await api.call("POST", "/updates/install", body=install, expect=409)
    assert problem["missing"] == [{"name": "beta", "arch": "amd64", "planned": "2.0", "approved": "2.1"}]


async def test_only_the_newest_plan_is_installed_or_confirmed(api: Api, host: UUID) -> None:
    await approve(api, "alpha", "beta")
    old = await api.add_plan(host, upgrade_plan("alpha"), created_at=CLOCK.now() - timedelta(minutes=1))
    new = await api.add_plan(host, upgrade_plan("beta"))
    problem = await api.call(
        "POST", "/updates/install", body={"host": "web-04", "plan_digest": old}, expect=409
    )
    assert problem["code"] == "plan_outdated"
    problem = await api.call("POST", f"/plans/{old}/confirm", body={"host": "web-04"}, expect=409)
    assert problem["code"] == "plan_outdated"
    plans = (await api.call("GET", "/plans", host="web-04"))["items"]
    assert [(one["digest"], one["newest"]) for one in plans] == [(new, True), (old, False)]
    await api.call("POST", "/updates/install", body={"host": "web-04", "plan_digest": new}, expect=202)


async def test_a_plan_of_another_host_is_not_this_hosts(api: Api, host: UUID) -> None:
    other = await api.add_host("db-01")
    digest = await api.add_plan(other, upgrade_plan("alpha"))
    await approve(api, "alpha")
    for method, path, body in (
        ("POST", "/updates/install", {"host": "web-04", "plan_digest": digest}),
        ("POST", f"/plans/{digest}/confirm", {"host": "web-04"}),
    ):
        problem = await api.call(method, path, body=body, expect=404)
        assert problem["code"] == "plan_not_found"
    await api.call("GET", f"/plans/{digest}", host="web-04", expect=404)
    shown = await api.call("GET", f"/plans/{digest}")
    assert [one["hostname"] for one in shown["hosts"]] == ["db-01"]


async def test_a_plan_that_changes_nothing_is_not_installed(api: Api, host: UUID) -> None:
    digest = await api.add_plan(host, upgrade_plan())
    problem = await api.call(
        "POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=409
    )
    assert problem["code"] == "nothing_to_do"


async def test_no_state_is_shown_as_running_after_its_command_ended(api: Api, host: UUID) -> None:
    await approve(api, "alpha")
    digest = await api.add_plan(host, upgrade_plan("alpha"))
    await api.call("POST", "/updates/install", body={"host": "web-04", "plan_digest": digest}, expect=202)
    assert (await api.call("GET", "/updates", state="installing"))["total"] == 1
    await end_all_commands(api)
    assert (await api.call("GET", "/updates", state="installing"))["total"] == 0
    assert await states(api) == {"alpha": "approved", "beta": "pending", "gamma": "pending"}


async def test_a_failed_update_is_approved_anew_and_planned_again(api: Api, host: UUID) -> None:
    await approve(api, "alpha")
    async with api.owner.begin() as session:
        await session.execute(text("UPDATE package_state SET state = 'failed' WHERE name = 'alpha'"))
    assert (await states(api))["alpha"] == "failed"
    answer = await approve(api, "alpha")
    assert [one["name"] for one in answer["approved"]] == ["alpha"]
    assert (await states(api))["alpha"] == "approved"


async def test_a_package_being_worked_on_keeps_waiting_when_it_is_approved(api: Api, host: UUID) -> None:
    body = {"host": "web-04", "packages": ["alpha"]}
    await api.call("POST", "/updates/plan", body=body, expect=202)
    await approve(api, "alpha")
    page = await api.call("GET", "/updates", name="alpha")
    assert page["items"][0]["state"] == "checking_dependencies"
    assert page["items"][0]["approved_version"] == "2.0"
    await end_all_commands(api)
    assert (await states(api))["alpha"] == "approved"


async def test_a_confirmation_moves_on_what_waited_for_it(api: Api, host: UUID) -> None:
    await approve(api, "alpha")
    digest = await api.add_plan(host, upgrade_plan("alpha", extra=(install_of("lib"),)))
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "UPDATE package_state SET state = 'pending_dependencies', command_id = p.command_id "
                "FROM update_plan p WHERE name IN ('alpha', 'beta')"
            )
        )
    await api.call("POST", f"/plans/{digest}/confirm", body={"host": "web-04"})
    assert await states(api) == {"alpha": "approved", "beta": "pending", "gamma": "pending"}
