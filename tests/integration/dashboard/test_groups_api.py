"""Groups, tags, the tree of hosts, and their filters."""

import asyncio
from typing import Any

from sqlalchemy import text

from redflag_dispatcher.intent_check import check_intent
from redflag_store.queries.host_filter import TREE_DEPTH_MAX
from redflag_store.queries.tags import TAGS_MAX
from tests.integration.dashboard.running_api import Api


async def hostnames(api: Api, **params: Any) -> list[str]:
    return [one["hostname"] for one in (await api.call("GET", "/hosts", **params))["items"]]


async def intents(api: Api) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Verb, targets and parameters of every intent, oldest first, each checked as the signer does."""
    async with api.owner() as session:
        rows = (await session.execute(text("SELECT envelope FROM intent ORDER BY id"))).all()
    found = []
    for row in rows:
        intent = check_intent(
            bytes(row.envelope), [api.parts.intent_key.public], fleet=str(api.parts.fleet)
        ).intent
        found.append((intent.verb.value, [str(one) for one in intent.targets], dict(intent.params)))
    return found


async def test_a_group_lives_and_every_change_is_signed(api: Api) -> None:
    web, db = await api.add_host("web"), await api.add_host("db")
    group = await api.call("POST", "/groups", body={"name": "Prod EU", "description": "live"}, expect=201)
    taken = await api.call("POST", "/groups", body={"name": "prod eu"}, expect=409)
    assert (taken["code"], taken["group"]["id"]) == ("group_exists", group["id"])
    added = await api.call("POST", "/groups/prod%20eu/add", body={"hosts": ["web", str(db), "WEB"]})
    assert (added["changed"], added["unchanged"], added["group"]["hosts"]) == (2, 0, 2)
    assert await hostnames(api, group="Prod EU") == ["db", "web"]
    shown = await api.call("GET", "/hosts/web")
    assert shown["groups"] == [{"id": group["id"], "name": "Prod EU"}]
    problem = await api.call(
        "POST", f"/groups/{group['id']}/add", body={"hosts": ["web", "none"]}, expect=404
    )
    assert "none" in problem["detail"]
    removed = await api.call("POST", f"/groups/{group['id']}/remove", body={"hosts": ["db"]})
    assert (removed["changed"], removed["group"]["hosts"]) == (1, 1)
    renamed = await api.call("POST", f"/groups/{group['id']}", body={"name": "eu"})
    assert (renamed["name"], renamed["description"]) == ("eu", "live")
    assert (await api.call("GET", "/groups", q="LIV"))["total"] == 1
    await api.call("POST", "/groups/eu/delete")
    await api.call("GET", "/groups/eu", expect=404)
    await api.call("GET", "/hosts", group="eu", expect=404)
    assert [(verb, params["action"]) for verb, _, params in await intents(api)] == [
        ("change_group", one) for one in ("create", "add", "remove", "change", "delete")
    ]
    assert (await intents(api))[1][1] == [str(web), str(db)]


async def test_groups_are_refused_odd_names_and_readers(api: Api) -> None:
    for name in ("", " a", "a\n", "=cmd", "x" * 65, "0193e4a0-0000-7000-8000-000000000001"):
        await api.call("POST", "/groups", body={"name": name}, expect=422)
    await api.call("POST", "/groups", body={"name": "a"}, key="read", expect=403)


async def test_tags_are_set_removed_and_filtered_by(api: Api) -> None:
    host = await api.add_host("web", tags={"env": "test", "old": "1"})
    await api.add_host("other", tags={"env": "prod"})
    changed = await api.call(
        "POST", "/hosts/web/tags", body={"set": {"env": "prod", "row": "7"}, "remove": ["old"]}
    )
    assert changed["tags"] == {"env": "prod", "row": "7"}
    assert await hostnames(api, tag="env=prod") == ["other", "web"]
    assert await hostnames(api, tag="row") == ["web"]
    assert await hostnames(api, tag="row=8") == []
    assert (await intents(api))[0] == (
        "change_host", [str(host)], {"tags": {"set": {"env": "prod", "row": "7"}, "remove": ["old"]}}
    )  # fmt: skip
    for bad in (
        {"set": {"a b": "c"}},
        {"set": {"a": "line\nbreak"}},
        {"set": {"a": "\x1b[31m"}},
        {"set": {"a": ""}},
    ):
        await api.call("POST", "/hosts/web/tags", body=bad, expect=422)
    await api.call("GET", "/hosts", tag="a b", expect=422)
    many = {f"t{n}": "x" for n in range(TAGS_MAX - 1)}
    problem = await api.call("POST", "/hosts/web/tags", body={"set": many}, expect=409)
    assert problem["code"] == "too_many_tags"
    assert (await api.call("GET", "/hosts/web"))["tags"] == {"env": "prod", "row": "7"}


async def test_tags_changed_at_once_are_all_there(api: Api) -> None:
    await api.add_host("web")
    await asyncio.gather(
        *(api.call("POST", "/hosts/web/tags", body={"set": {f"t{n}": str(n)}}) for n in range(6))
    )
    assert (await api.call("GET", "/hosts/web"))["tags"] == {f"t{n}": str(n) for n in range(6)}


async def test_hosts_stand_in_a_tree_without_circles(api: Api) -> None:
    for name in ("node", "guest", "inner", "other"):
        await api.add_host(name)
    await api.call("POST", "/hosts/guest/parent", body={"parent": "node"})
    shown = await api.call("POST", "/hosts/inner/parent", body={"parent": "guest"})
    assert shown["parent"] == "guest"
    assert await hostnames(api, under="node") == ["guest", "inner", "node"]
    for above in ("node", "guest", "inner"):
        problem = await api.call("POST", "/hosts/node/parent", body={"parent": above}, expect=409)
        assert problem["code"] == "tree_cycle"
    await api.call("POST", "/hosts/node/parent", body={"parent": "none"}, expect=404)
    await api.call("POST", "/hosts/node/parent", body={}, expect=422)
    assert (await api.call("POST", "/hosts/guest/parent", body={"parent": None}))["parent"] is None
    assert await hostnames(api, under="node") == ["node"]
    # A refused change leaves no intent behind.
    assert [verb for verb, _, _ in await intents(api)] == ["change_host"] * 3


async def test_two_good_changes_at_once_make_no_circle(api: Api) -> None:
    for round_ in range(5):
        one, two = f"a{round_}", f"b{round_}"
        await api.add_host(one)
        await api.add_host(two)

        async def move(host: str, parent: str) -> int:
            async with api.raw("POST", f"/hosts/{host}/parent", body={"parent": parent}) as answer:
                return int(answer.status)

        assert sorted(await asyncio.gather(move(one, two), move(two, one))) == [200, 409]


async def test_nesting_has_a_bound(api: Api) -> None:
    for n in range(TREE_DEPTH_MAX + 1):
        await api.add_host(f"h{n}")
    for n in range(1, TREE_DEPTH_MAX):
        await api.call("POST", f"/hosts/h{n}/parent", body={"parent": f"h{n - 1}"})
    last = TREE_DEPTH_MAX
    problem = await api.call("POST", f"/hosts/h{last}/parent", body={"parent": f"h{last - 1}"}, expect=409)
    assert problem["code"] == "tree_too_deep"
    # From above too: the whole height of what hangs on the host counts.
    problem = await api.call("POST", "/hosts/h0/parent", body={"parent": f"h{last}"}, expect=409)
    assert problem["code"] == "tree_too_deep"
    assert len(await hostnames(api, under="h0")) == TREE_DEPTH_MAX


async def test_versions_are_held_against_the_settings(api: Api) -> None:
    await api.add_host("old", agent_version="0.0.9")
    await api.add_host("new", agent_version="v0.1")
    await api.add_host("silent")
    listed = {one["hostname"]: one for one in (await api.call("GET", "/hosts"))["items"]}
    assert [listed[name]["update_available"] for name in ("old", "new", "silent")] == [True, False, True]
    assert not any(one["below_minimum"] for one in listed.values())
    async with api.owner.begin() as session:
        await session.execute(
            text("INSERT INTO setting VALUES ('agents.minimum_version', '\"0.0.10\"', now(), 'admin')")
        )
    assert (await api.call("GET", "/hosts/old"))["below_minimum"] is True
    assert await hostnames(api, version_below="0.0.10") == ["old", "silent"]
    await api.call("GET", "/hosts", version_below="dev", expect=422)
