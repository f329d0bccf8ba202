"""Inventories by digest, gaps that nobody can fill, and reports that cannot be stored: end to end over ingest."""

from typing import Any

from redflag_wire.report import CommandState, Outcome, ReportKind
from tests.integration.dispatcher.rig import Host, Rig
from tests.integration.dispatcher.test_ingest import (
    PLAN_PARAMS,
    approve,
    install_body,
    installed,
    inventory,
    item,
    packages,
    published,
    take,
    work_on,
)

SHA = "sha256:"
ONE, TWO, THREE, FOUR = (SHA + digit * 64 for digit in "1234")
PACKAGES = "SELECT xmin::text AS x, name, state FROM package_state ORDER BY name"


def whole(digest: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {**inventory(*items), "digest": digest}


def changes(base: str, digest: str, *changed: dict[str, Any], gone: tuple[str, ...] = ()) -> dict[str, Any]:
    body = inventory()
    del body["updates"]
    return {
        **body,
        "type": "inventory_changes",
        "base": base,
        "digest": digest,
        "changed": list(changed),
        "gone": [{"name": name, "arch": "amd64"} for name in gone],
    }


async def tell(rig: Rig, host: Host, body: dict[str, Any]) -> None:
    await take(rig, host, host.report(ReportKind.INVENTORY, body))


async def asked(rig: Rig) -> list[dict[str, Any]]:
    rows = await rig.rows("SELECT kind, params::text AS params, source, state, requested_by FROM command")
    return [dict(row) for row in rows]


async def held(rig: Rig) -> tuple[Any, ...]:
    (row,) = await rig.rows("SELECT digest, host_digest, refused_rows, rows FROM agent_inventory")
    return tuple(row.values())


async def test_changes_are_applied_to_the_set_they_build_on(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("a"), item("b"), item("c")))
    await tell(
        rig, host, changes(ONE, TWO, item("a", "3"), item("d", trusted=True, severity="high"), gone=("b",))
    )
    assert await packages(rig) == {
        "a": ("3", "pending"), "b": ("2", "updated"), "c": ("2", "pending"), "d": ("2", "pending"),
    }  # fmt: skip
    assert await held(rig) == (TWO, TWO, 0, 3)
    assert await rig.value("SELECT severity FROM package_state WHERE name = 'd' AND trusted") == "high"
    assert await asked(rig) == []


async def test_host_that_makes_up_package_managers_is_bounded(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.rows(
        "INSERT INTO agent_inventory (agent_id, manager, looked_at, changed_at) "
        "SELECT $1, 'm' || n, now(), now() FROM generate_series(1, 32) n",
        host.id,
    )
    await tell(rig, host, whole(ONE, item("a")))
    assert await packages(rig) == {}
    (event,) = await rig.events("inventory_refused")
    assert event["data"] == {"manager": "apt"}


async def test_unchanged_costs_no_row_but_the_time_of_the_look(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("a"), item("b")))
    before, looked = await rig.rows(PACKAGES), await rig.value("SELECT looked_at FROM agent_inventory")
    await tell(rig, host, changes(ONE, ONE))
    await tell(rig, host, whole(ONE, item("a"), item("b")))
    assert await rig.rows(PACKAGES) == before
    assert await rig.value("SELECT looked_at FROM agent_inventory") > looked
    assert await rig.value("SELECT changed_at FROM agent_inventory") == looked
    assert await rig.value("SELECT count(*) FROM update_event") == 2


async def test_changes_of_another_set_are_not_taken_and_the_whole_is_asked_for_once(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("a")))
    before = await rig.rows(PACKAGES)
    for number in range(3):
        await tell(rig, host, changes(THREE, FOUR, item(f"new-{number}"), gone=("a",)))
    assert await rig.rows(PACKAGES) == before
    (command,) = await asked(rig)
    assert (command["kind"], command["source"], command["requested_by"]) == ("scan", "system", "inventory")
    assert '"full": true' in command["params"]
    assert '"subsystem": "apt"' in command["params"]
    # The whole is taken whatever was there before.
    await tell(rig, host, whole(FOUR, item("b")))
    assert await packages(rig) == {"a": ("2", "updated"), "b": ("2", "pending")}
    assert (await held(rig))[0] == FOUR


async def test_a_host_that_never_sends_the_whole_is_not_asked_for_ever(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, changes(ONE, TWO, item("a")))
    await rig.rows("UPDATE command SET state = 'cancelled'")
    await tell(rig, host, changes(TWO, THREE, item("a")))
    assert len(await asked(rig)) == 1
    await rig.rows("UPDATE agent_inventory SET asked_at = asked_at - interval '16 minutes'")
    await tell(rig, host, changes(THREE, FOUR, item("a")))
    assert len(await asked(rig)) == 2


async def test_a_set_with_broken_rows_is_not_the_hosts_set_and_still_grows(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("a"), {**item("b"), "security": "yes"}))
    assert await held(rig) == (None, ONE, 1, 1)
    await tell(rig, host, changes(ONE, TWO, item("c"), {**item("d"), "name": "bad\x00name"}))
    assert await held(rig) == (None, TWO, 2, 2)
    assert set(await packages(rig)) == {"a", "c"}
    assert sum(event["count"] for event in await rig.events("inventory_rows_refused")) == 2
    assert await asked(rig) == []
    # A day later the broken rows may be good for a newer server.
    await rig.rows("UPDATE agent_inventory SET changed_at = changed_at - interval '25 hours'")
    await tell(rig, host, changes(TWO, TWO))
    assert len(await asked(rig)) == 1


async def test_ignoring_outlives_the_update_it_was_said_of(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("a"), item("b")))
    await rig.rows("UPDATE package_state SET state = CASE name WHEN 'a' THEN 'ignored' ELSE 'rejected' END")
    await tell(rig, host, whole(TWO))
    assert await packages(rig) == {"a": (None, "ignored"), "b": ("2", "updated")}
    await tell(rig, host, whole(THREE, item("a", "3"), item("b", "3")))
    assert await packages(rig) == {"a": ("3", "ignored"), "b": ("3", "pending")}


async def test_a_rollback_makes_the_update_pending_again(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("openssl", "3.0.18")))
    await approve(rig, host, "openssl", "3.0.18")
    await rig.rows("UPDATE package_state SET state = 'updated', installed = '3.0.18'")
    params = {
        "manager": "apt",
        "packages": [{"name": "openssl", "arch": "amd64", "version": "3.0.17"}],
        "plan_digest": PLAN_PARAMS.get("plan_digest", ONE),
    }
    command = await published(rig, host, "rollback_update", params)
    await work_on(rig, command.cmd, "installing")
    body = install_body(installed("openssl", old="3.0.18", new="3.0.17"))
    await take(rig, host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED, body))
    (row,) = await rig.rows("SELECT state, installed, approved_version FROM package_state")
    assert tuple(row.values()) == ("pending", "3.0.17", None)
    assert await rig.value("SELECT count(*) FROM approval WHERE lapsed_at IS NULL") == 0
    assert await rig.value("SELECT action FROM update_history") == "rollback"
    assert await rig.value("SELECT kind FROM update_event ORDER BY at DESC, id DESC LIMIT 1") == "rolled_back"


async def test_a_package_leaves_its_command_when_that_ends_whoever_ends_it(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("openssl")))
    command = await published(rig, host, "install_updates", {**PLAN_PARAMS, "plan_digest": ONE})
    for end, wanted in (("expired", "pending"), ("unknown", "failed")):
        await rig.rows("UPDATE command SET state = 'running'")
        await work_on(rig, command.cmd, "installing")
        await rig.rows("UPDATE command SET state = $1", end)
        assert {state for _, state in (await packages(rig)).values()} == {wanted}


async def test_a_gap_is_given_up_when_the_host_has_nothing_to_fill_it_with(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await tell(rig, host, whole(ONE, item("a")))
    host.rseq += 40  # confirmed before, by the database that was lost
    first = host.report(ReportKind.INVENTORY, whole(TWO, item("b")))
    await take(rig, host, first)
    await tell(rig, host, whole(THREE, item("c")))
    assert await rig.value("SELECT last_rseq FROM agent") == 1
    await take(rig, host, first)  # too soon: the rest may be on its way
    assert await rig.value("SELECT last_rseq FROM agent") == 1
    await rig.rows("UPDATE report_inbox SET received_at = received_at - interval '3 minutes'")
    await take(rig, host, first)
    assert await rig.value("SELECT last_rseq FROM agent") == 43
    (event,) = await rig.events("report_gap_given_up")
    assert event["data"] == {"from": 2, "to": 41}
    # What comes late after all is stored, and is no fork.
    host.rseq = 9
    await tell(rig, host, whole(FOUR, item("d")))
    assert await rig.value("SELECT count(*) FROM report_inbox") == 4
    assert await rig.events("report_fork") == []


async def test_a_report_the_database_refuses_does_not_hold_up_its_chain(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.rows("ALTER TABLE package_state ADD CONSTRAINT planted CHECK (name <> 'poison')")
    for digest, name in ((ONE, "a"), (TWO, "poison"), (THREE, "c")):
        await tell(rig, host, whole(digest, item(name)))
    assert await rig.value("SELECT last_rseq FROM agent") == 3
    assert set(await packages(rig)) == {"a", "c"}
    (event,) = await rig.events("report_body_unreadable")
    assert "planted" in event["message"]


async def test_a_report_that_cannot_be_stored_at_all_counts_as_taken(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.rows("ALTER TABLE report_inbox ADD CONSTRAINT planted CHECK (rseq <> 2)")
    for digest in (ONE, TWO, THREE):
        await tell(rig, host, whole(digest, item("a")))
    assert await rig.value("SELECT last_rseq FROM agent") == 3
    (event,) = await rig.events("report_refused")
    assert event["data"]["code"] == "not_storable"
