"""Jobs, restarts, cancels, retries and exports of history against the API that really answers."""

import csv
import io
from uuid import UUID

from sqlalchemy import text

from redflag_wire.ids import new_id
from tests.integration.cli.command_line import CommandLine
from tests.integration.dashboard.running_api import CLOCK, Api, add_command


async def end(api: Api, command: str, state: str) -> None:
    """End a command as the dispatcher would."""
    async with api.owner.begin() as session:
        await session.execute(
            text("UPDATE command SET state = :state, envelope = '{}', finished_at = now() WHERE id = :id"),
            {"state": state, "id": UUID(command)},
        )


async def test_a_job_from_its_start_to_its_stop(api: Api, cli: CommandLine) -> None:
    for number in range(3):
        await api.add_host(f"web-{number:02}", tags={"env": "prod" if number else "test"})
    started = await cli.run("scan", "--tag", "env=prod", "--subsystem", "apt")
    assert started.out.startswith("Asked 2 hosts: job ")
    job = started.out.split()[-1]
    assert f"redflag jobs show {job} --wait" in started.err
    shown = await cli.json("jobs", "show", job, "--hosts")
    assert [one["hostname"] for one in shown["items"]] == ["web-01", "web-02"]
    assert shown["params"]["subsystem"] == "apt"
    assert "scan: 0 of 2 hosts done: 2 waiting" in (await cli.run("jobs", "show", job)).out
    assert (await cli.run("jobs", "cancel", job)).out.startswith("Stopping: scan")
    assert "cancelling already" in (await cli.run("jobs", "cancel", job, expect=6)).err
    assert (await cli.json("jobs", "list", "--state", "cancelling"))["total"] == 1
    assert "no active host matches" in (await cli.run("scan", "--os", "plan9", expect=6)).err
    assert "redflag groups list" in (await cli.run("scan", "--group", "nobody", expect=3)).err
    assert "redflag jobs list" in (await cli.run("jobs", "show", str(new_id(CLOCK)), expect=3)).err


async def test_restart_cancel_and_retry(api: Api, cli: CommandLine) -> None:
    await api.add_host()
    asked = await cli.json("reboot", "web-04", "--yes", "--delay", "90s", "--reason", "kernel")
    assert asked["params"] == {"delay_s": 90, "reason": "kernel"}
    assert "say --yes" in (await cli.run("reboot", "web-04", expect=2)).err
    cancel = await cli.json("commands", "cancel", asked["id"])
    again = await cli.run("commands", "cancel", asked["id"], expect=6)
    assert f"redflag commands show {cancel['id']} --wait" in again.err
    await end(api, asked["id"], "cancelled")
    ended = await cli.run("commands", "cancel", asked["id"], expect=6)
    assert "was cancelled already" in ended.err
    retry = await cli.json("commands", "retry", asked["id"])
    assert (retry["retry_of"], retry["params"]) == (asked["id"], asked["params"])
    shown = (await cli.run("commands", "show", asked["id"])).out
    assert f"Retried by  {retry['id']}" in shown
    assert f"command {cancel['id']}" in shown
    listed = await cli.json("commands", "list", "--since", "1h", "--source", "manual", "--kind", "reboot")
    assert listed["total"] == 2


async def test_history_is_exported_as_csv(api: Api, cli: CommandLine) -> None:
    host = await api.add_host("=web")
    async with api.owner.begin() as session:
        params = {"delay_s": 60, "reason": "kernel"}
        await add_command(
            session, host, new_id(CLOCK), "reboot", "succeeded", params=params, duration_ms=98_000
        )
    rows = list(csv.DictReader(io.StringIO((await cli.run("export", "history")).out)))
    assert [(one["hostname"], one["what"]) for one in rows] == [
        ("'=web", "Restarted after 1 min, back in 38 s (kernel)")
    ]
    assert (await cli.json("history", "--kind", "reboot", "--since", "1h"))["total"] == 1
