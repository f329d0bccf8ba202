"""What is older than its retention goes, what is young stays, and nobody can make RedFlag forget on demand."""

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from redflag_broker_config.subjects import UP_STREAM
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.upkeep import Upkeep
from redflag_wire.report import CommandState, Outcome, ReportKind
from tests.integration.dispatcher.rig import CLOCK, Host, Rig


def upkeep(rig: Rig, batch: int = 100) -> Upkeep:
    return Upkeep(rig.maker, LiveSettings(rig.maker, CLOCK), clock=CLOCK, metrics=rig.metrics, batch=batch)


async def done(rig: Rig, host: Host) -> UUID:
    command = await rig.signed(host)
    await (await rig.relay()).step()
    await rig.send_up(host, host.of_command(command, CommandState.DONE, Outcome.SUCCEEDED))
    ingest = await rig.the_ingest()
    while await rig.waiting_in(UP_STREAM):
        await ingest.step()
        await rig.nc.flush()
    return command.cmd


async def count(rig: Rig, table: str) -> int:
    return int(await rig.value(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def test_old_commands_go_with_their_records_and_their_package_lines_stay(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    old, young = await done(rig, host), await done(rig, host)
    await rig.rows("UPDATE command SET finished_at = now() - interval '401 days' WHERE id = $1", old)
    await rig.rows("UPDATE command SET retry_of = $1, retry_depth = 1 WHERE id = $2", old, young)
    await rig.rows(
        "INSERT INTO update_history (id, agent_id, command_id, manager, name, arch, new_version, action, result, "
        "stored_at) VALUES (gen_random_uuid(), $1, $2, 'apt', 'openssl', 'amd64', '3', 'upgrade', 'succeeded', now())",
        host.id,
        old,
    )
    await asyncio.gather(upkeep(rig).step(), upkeep(rig).step())
    assert [row["id"] for row in await rig.rows("SELECT id FROM command")] == [young]
    for table in ("command_event", "signing_log"):
        rows = await rig.rows(f"SELECT command_id FROM {table}")  # noqa: S608
        assert {row["command_id"] for row in rows} == {young}
    (row,) = await rig.rows("SELECT retry_of, retry_depth FROM command")
    assert (row["retry_of"], row["retry_depth"]) == (None, 1)
    (line,) = await rig.rows("SELECT name, command_id FROM update_history")
    assert (line["name"], line["command_id"]) == ("openssl", None)


async def test_command_without_an_end_is_never_removed(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    await rig.request([host])
    await rig.rows("UPDATE command SET requested_at = now() - interval '9 years', finished_at = requested_at")
    await upkeep(rig).step()
    assert await count(rig, "command") == 1


async def test_old_reports_go_but_the_newest_of_each_key(rig: Rig) -> None:
    (host,) = await rig.add_hosts()
    for _ in range(2):
        await done(rig, host)
    await rig.send_up(host, host.report(ReportKind.EVENT), host.report(ReportKind.EVENT))
    ingest = await rig.the_ingest()
    while await rig.waiting_in(UP_STREAM):
        await ingest.step()
        await rig.nc.flush()
    await rig.rows("UPDATE report_inbox SET received_at = now() - interval '61 days'")
    await upkeep(rig, batch=1).step()
    assert [row["rseq"] for row in await rig.rows("SELECT rseq FROM report_inbox ORDER BY rseq")] == [2, 4]
    # The chain goes on from what stayed.
    await rig.send_up(host, host.report(ReportKind.EVENT))
    while await rig.waiting_in(UP_STREAM):
        await ingest.step()
        await rig.nc.flush()
    assert await rig.value("SELECT last_rseq FROM agent") == 5
    assert await rig.events("report_gap") == await rig.events("report_fork") == []


async def test_event_that_goes_on_stays(rig: Rig) -> None:
    await rig.rows(
        "INSERT INTO system_event (id, at, last_at, severity, component, code, message) "
        "VALUES (gen_random_uuid(), now() - interval '99 days', now(), 'info', 'x', 'x', 'x')"
    )
    await upkeep(rig).step()
    assert len(await rig.events("x")) == 1


async def test_events_keys_and_months_go_in_their_time(rig: Rig) -> None:
    await rig.rows(
        "INSERT INTO system_event (id, at, severity, component, code, message) "
        "SELECT gen_random_uuid(), now() - make_interval(days => d), 'info', 'x', 'x', 'x' "
        "FROM unnest(ARRAY[91, 89]) AS d"
    )
    await rig.rows(
        "INSERT INTO idempotency_key (operator, key, request_digest, created_at) "
        "SELECT 'x', h::text, 'x', now() - make_interval(hours => h) FROM unnest(ARRAY[50, 47]) AS h"
    )
    month = (CLOCK.now() - timedelta(days=330)).date()
    await rig.rows("SELECT redflag_ensure_update_event_partitions($1, 1)", month)
    made = f"update_event_{month:%Y_%m}"
    await rig.rows(
        "INSERT INTO setting (key, value, changed_at, changed_by) "
        "VALUES ('retention.update_events_months', '9', now(), 'x')"
    )
    await upkeep(rig).step()
    assert len(await rig.events("x")) == await count(rig, "idempotency_key") == 1
    assert await rig.value("SELECT to_regclass($1) IS NULL", made)
    assert await rig.value("SELECT to_regclass($1) IS NOT NULL", f"update_event_{CLOCK.now():%Y_%m}")


@pytest.mark.parametrize(
    "function",
    ["redflag_prune_commands", "redflag_prune_reports", "redflag_prune_system_events", "redflag_prune_jobs"],
)
async def test_database_refuses_to_forget_what_is_young(rig: Rig, function: str) -> None:
    connection = await asyncpg.connect(str(rig.url.dispatcher))  # type: ignore[no-untyped-call]  # ships no types
    try:
        with pytest.raises(asyncpg.RaiseError, match="are kept for"):
            await connection.execute(f"SELECT {function}(now(), 100)")
        for table in ("command", "command_event", "signing_log", "report_inbox", "system_event"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608
        with pytest.raises(asyncpg.RaiseError, match="at most"):
            await connection.execute(f"SELECT {function}(now() - interval '99 days', NULL)")
        # Nothing named is not everything.
        with pytest.raises(asyncpg.RaiseError, match="the last day stay"):
            await connection.execute("SELECT redflag_drop_host_metric_weeks(NULL)")
    finally:
        await connection.close()
