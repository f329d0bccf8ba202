"""Jobs, the fleet's limits, and two dispatchers that share all of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from redflag_dispatcher.jobs import JobWork
from redflag_store.queries.intents import store_intent
from redflag_store.queries.jobs import JobView, NewItem, cancel_job, create_job, get_job, job_items, list_jobs
from redflag_store.queries.refusals import JobEndedError
from redflag_wire.clock import Clock, ManualClock
from redflag_wire.intent import IntentVerb
from tests.integration.dispatcher.rig import CLOCK, Host, Rig, opened

SCAN: dict[str, Any] = {"subsystem": "all"}
REBOOT: dict[str, Any] = {"delay_s": 60, "reason": "kernel"}


async def make_job(
    rig: Rig,
    hosts: list[Host],
    *,
    kind: str = "scan",
    params: dict[str, Any] = SCAN,
    verb: IntentVerb = IntentVerb.SCAN,
    key: str | None = "scan:all",
) -> UUID:
    """Ask as the API does: one intent for all, stored with the job."""
    intent = rig.intent(hosts, verb, params)
    async with opened(rig.url.dashboard) as make, make.begin() as session:
        await store_intent(session, CLOCK, intent)
        return await create_job(
            session,
            CLOCK,
            verb=verb.value,
            kind=kind,
            params=params,
            items=[NewItem(host.id, intent.id) for host in hosts],
            requested_by="admin",
            op=intent.correlation_id,
            dedupe_key=key,
        )


async def end_job(rig: Rig, job: UUID) -> None:
    intent = rig.intent([], IntentVerb.CANCEL_COMMAND, {"job": str(job)})
    async with opened(rig.url.dashboard) as make, make.begin() as session:
        await cancel_job(session, CLOCK, job_id=job, intent=intent, requested_by="admin")


def work(rig: Rig, clock: Clock = CLOCK, **changes: Any) -> JobWork:
    return JobWork(rig.maker, clock=clock, metrics=rig.metrics, made=lambda: None, **changes)


async def drain(*steps: Callable[[], Awaitable[bool]]) -> None:
    for step in steps:
        while await step():
            pass


async def view(rig: Rig, job: UUID) -> JobView:
    async with opened(rig.url.dashboard) as make, make() as session:
        found = await get_job(session, job)
    assert found is not None
    return found


async def setting(rig: Rig, key: str, value: int) -> None:
    await rig.rows(
        "INSERT INTO setting (key, value, changed_at, changed_by) VALUES ($1, to_jsonb($2::integer), now(), 'x') "
        "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
        key,
        value,
    )


async def test_job_becomes_commands_and_says_what_became_of_each_host(rig: Rig) -> None:
    hosts = await rig.add_hosts(5)
    busy, gone = hosts[0], hosts[1]
    job = await make_job(rig, hosts)
    other = await make_job(rig, [busy])
    await rig.rows("UPDATE agent SET state = 'revoked' WHERE id = $1", gone.id)
    await drain(work(rig).step)

    shown = await view(rig, job)
    assert (shown.job.total, shown.job.made, shown.job.refused, shown.waiting) == (5, 4, 1, 0)
    assert shown.commands == {"requested": 4}
    async with opened(rig.url.dashboard) as make, make() as session:
        page = await job_items(session, job, after=None, limit=2)
        rest = await job_items(session, job, after=page.rows[-1].item.position, limit=10)
        (refused,) = (await job_items(session, other, after=None, limit=10)).rows
        jobs = await list_jobs(session, after=None, limit=1)
    assert (page.total, page.more, len(rest.rows), jobs.total, jobs.more) == (5, True, 3, 2, True)
    items = {one.item.agent_id: one for one in page.rows + rest.rows}
    assert items[gone.id].item.code == "not_active"
    assert items[busy.id].command_state == "requested"
    # The second job names the command that was there.
    assert (refused.item.code, refused.item.existing_id) == (
        "already_pending",
        items[busy.id].item.command_id,
    )

    await drain(rig.signer().step)
    assert (
        await rig.value("SELECT count(*) FROM command WHERE state = 'signed' AND op = $1", shown.job.op) == 4
    )
    await rig.rows("UPDATE command SET state = 'succeeded', result = 'succeeded', finished_at = now()")
    await drain(work(rig).step)
    over = await view(rig, job)
    assert (over.job.state, over.commands) == ("finished", {"succeeded": 4})
    assert (await view(rig, other)).job.state == "finished"


async def test_host_that_has_enough_for_the_hour_is_asked_later(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await setting(rig, "limits.agent_commands_burst", 1)
    await setting(rig, "limits.agent_commands_per_hour", 60)
    first = await make_job(rig, [host])
    second = await make_job(rig, [host], key="another")
    await drain(work(rig).step)
    assert (await view(rig, first)).job.made == 1
    waiting = await view(rig, second)
    assert (waiting.waiting, waiting.job.state) == (1, "running")
    (item,) = await rig.rows("SELECT * FROM job_item WHERE job_id = $1", second)
    assert (item["code"], item["tries"]) == ("rate_limited", 1)
    clock = ManualClock(CLOCK.now())
    clock.advance(61)
    await drain(work(rig, clock).step)
    assert (await view(rig, second)).job.made == 1


async def test_end_of_a_job_stops_what_is_not_made_and_cancels_what_is(rig: Rig) -> None:
    hosts = await rig.add_hosts(6)
    job = await make_job(rig, hosts)
    worker = work(rig, batch=4)
    await worker.make()
    await drain(rig.signer().step)
    await (await rig.relay(batch=2)).step()  # two are with the broker already
    await end_job(rig, job)
    with pytest.raises(JobEndedError):
        await end_job(rig, job)
    await drain(worker.step, rig.signer().step)

    states = Counter(row["state"] for row in await rig.rows("SELECT state FROM command WHERE kind = 'scan'"))
    assert states == {"cancelled": 2, "cancelling": 2}
    cancels = Counter(
        row["state"] for row in await rig.rows("SELECT state FROM command WHERE kind = 'cancel'")
    )
    assert cancels == {"succeeded": 2, "signed": 2}
    shown = await view(rig, job)
    assert (shown.job.state, shown.job.made, shown.job.refused) == ("cancelling", 4, 2)
    await rig.rows("UPDATE command SET state = 'cancelled', finished_at = now() WHERE state = 'cancelling'")
    await drain(worker.step)
    over = await view(rig, job)
    assert (over.job.state, over.commands) == ("cancelled", {"cancelled": 4})
    assert await rig.events("intent_refused") == []


async def test_end_of_one_job_covers_no_other_jobs_commands(rig: Rig) -> None:
    one, other = await rig.add_hosts(2)
    job, kept = await make_job(rig, [one]), await make_job(rig, [other])
    await drain(work(rig).step)
    await end_job(rig, job)
    await drain(work(rig).step)
    foreign = await rig.value("SELECT command_id FROM job_item WHERE job_id = $1", kept)
    await rig.rows(
        "UPDATE command SET params = jsonb_build_object('cmd', $1::text), agent_id = $2 WHERE kind = 'cancel'",
        str(foreign),
        other.id,
    )
    await drain(rig.signer().step)
    assert await rig.state(foreign) == "signed"
    (event,) = await rig.events("intent_refused")
    assert event["data"]["code"] == "intent_job"


async def test_kinds_limit_lets_a_few_through_and_holds_up_nobody_else(rig: Rig) -> None:
    hosts = await rig.add_hosts(30)
    await setting(rig, "limits.reboot_per_minute", 60)  # six at once
    await make_job(rig, hosts, kind="reboot", params=REBOOT, verb=IntentVerb.REBOOT)
    await drain(work(rig).step)
    await rig.request(hosts[:3])
    await drain(rig.signer().step)
    counts = Counter((row["kind"], row["state"]) for row in await rig.rows("SELECT kind, state FROM command"))
    assert counts == {("reboot", "signed"): 6, ("reboot", "requested"): 24, ("scan", "signed"): 3}
    # A restart gives nothing anew: the limit stands in the database.
    await drain(rig.signer().step)
    assert await rig.value("SELECT count(*) FROM command WHERE kind = 'reboot' AND state = 'signed'") == 6
    held = {"kind": "reboot", "reason": "kind_limit"}
    assert rig.registry.get_sample_value("redflag_commands_held", held) == 1
    await rig.rows("UPDATE fleet_rate SET tat = tat - interval '3 seconds'")
    await drain(rig.signer().step)
    assert await rig.value("SELECT count(*) FROM command WHERE kind = 'reboot' AND state = 'signed'") == 9


async def test_two_dispatchers_share_a_job_and_double_nothing(rig: Rig) -> None:
    hosts = await rig.add_hosts(80)
    await setting(rig, "limits.fleet_commands_per_minute", 1)
    await setting(rig, "limits.fleet_commands_burst", 50)
    job = await make_job(rig, hosts)
    relays = [await rig.relay(batch=7), await rig.relay(batch=7)]

    async def dispatcher(number: int) -> None:
        worker, signer = work(rig, batch=9), rig.signer(batch=11)
        for _ in range(6):
            await drain(worker.step, signer.step, relays[number].step)

    await asyncio.gather(dispatcher(0), dispatcher(1))

    shown = await view(rig, job)
    assert (shown.job.made, shown.job.refused) == (80, 0)
    # The fleet's limit is exact, whoever takes: fifty pass, the others wait and are not lost.
    assert shown.commands == {"queued": 50, "requested": 30}
    assert await rig.value("SELECT count(DISTINCT agent_id) FROM command") == 80
    assert await rig.value("SELECT count(*) FROM signing_log") == 50
    assert await rig.value("SELECT count(*) FROM command_event WHERE to_state = 'queued'") == 50
    published = rig.registry.get_sample_value("redflag_commands_published_total", {"outcome": "published"})
    assert published == 50


async def test_old_item_is_refused_because_its_intent_covers_nothing_any_more(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    job = await make_job(rig, [host], kind="reboot", params=REBOOT, verb=IntentVerb.REBOOT)
    clock = ManualClock(CLOCK.now())
    clock.advance(3601)
    await drain(work(rig, clock).step)
    (item,) = await rig.rows("SELECT state, code FROM job_item WHERE job_id = $1", job)
    assert (item["state"], item["code"]) == ("refused", "expired")


async def test_plans_of_a_job_hold_their_packages_until_they_are_there(rig: Rig) -> None:
    hosts = await rig.add_hosts(2)
    package = {"name": "openssl", "arch": "amd64", "version": "2"}
    params = {"manager": "apt", "packages": [package]}
    for host, state in zip(hosts, ("approved", "installing"), strict=True):
        await rig.rows(
            "INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, availability, state, "
            "first_seen_at, changed_at) "
            "VALUES ($1, 'apt', 'openssl', 'amd64', '1', '2', 'available', $2, now(), now())",
            host.id,
            state,
        )
    await make_job(rig, hosts, kind="dry_run_update", params=params, verb=IntentVerb.PLAN_UPDATES, key=None)
    await drain(work(rig).step)
    rows = await rig.rows("SELECT agent_id, state, command_id FROM package_state")
    found = {row["agent_id"]: (row["state"], row["command_id"]) for row in rows}
    made = await rig.value("SELECT id FROM command WHERE agent_id = $1", hosts[0].id)
    assert found == {hosts[0].id: ("checking_dependencies", made), hosts[1].id: ("installing", None)}


async def test_total_that_is_too_low_and_an_end_without_an_intent_stop_no_job(rig: Rig) -> None:
    hosts = await rig.add_hosts(3)
    job = await make_job(rig, hosts)
    await rig.rows("UPDATE job SET total = 1")
    await drain(work(rig).step)
    assert ((await view(rig, job)).job.made, (await view(rig, job)).job.total) == (3, 3)
    with pytest.raises(asyncpg.CheckViolationError):
        await rig.rows("UPDATE job SET state = 'cancelling'")
