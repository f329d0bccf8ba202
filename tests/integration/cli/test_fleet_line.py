"""Groups, tags, the tree, figures, events and exports on the command line, against the API that really answers."""

import asyncio
import csv
import io
import json
import signal
from pathlib import Path

from sqlalchemy import text

from redflag_store.tables import HostStorage, HostSystem, StorageVolume
from tests.integration.cli.command_line import CommandLine
from tests.integration.dashboard.running_api import CLOCK, Api


async def add_event(api: Api, code: str) -> None:
    async with api.owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO system_event (id, at, severity, component, code, message, data)"
                " VALUES (gen_random_uuid(), now(), 'warning', 'auth', :code, E'it is\x1b[31m so', '{}')"
            ),
            {"code": code},
        )


async def test_groups_tags_and_the_tree(api: Api, cli: CommandLine) -> None:
    for name in ("node", "guest"):
        await api.add_host(name)
    made = await cli.run("groups", "create", "Prod EU", "--description", "live")
    assert "redflag groups add 'Prod EU' HOSTS" in made.err
    assert "2 hosts put into Prod EU" in (await cli.run("groups", "add", "prod eu", "node", "guest")).err
    await cli.run("groups", "create", "prod eu", expect=6)
    await cli.run("groups", "add", "Prod EU", "nobody", expect=3)
    assert (await cli.json("groups", "remove", "Prod EU", "guest"))["changed"] == 1
    assert [one["hostname"] for one in (await cli.json("hosts", "list", "--group", "Prod EU"))["items"]] == [
        "node"
    ]
    await cli.run("hosts", "tag", "node", "env=prod", "row=7")
    await cli.run("hosts", "tag", "node", "nonsense", expect=2)
    await cli.run("hosts", "untag", "node", "row")
    assert (await cli.json("hosts", "show", "node"))["tags"] == {"env": "prod"}
    assert "runs on node" in (await cli.run("hosts", "parent", "guest", "node")).err
    await cli.run("hosts", "parent", "node", "guest", expect=6)
    await cli.run("hosts", "parent", "guest", expect=2)
    tree = (await cli.run("hosts", "tree")).out.splitlines()
    assert [line.split()[0] for line in tree[1:]] == ["node", "`-"]
    assert (await cli.json("hosts", "parent", "guest", "--none"))["parent"] is None
    await cli.run("groups", "delete", "Prod EU")
    await cli.run("groups", "show", "Prod EU", expect=3)


async def test_figures_of_a_host(api: Api, cli: CommandLine) -> None:
    agent = await api.add_host("web")
    refused = await cli.run("hosts", "system", "web", expect=3)
    assert "redflag scan" in refused.err
    now = CLOCK.now()
    await api.add(
        HostSystem(
            agent_id=agent, collected_at=now, stored_at=now, kernel_running="6.1", load1_milli=1500,
            memory_total_bytes=100, memory_available_bytes=25, reboot_required=True, reboot_reasons=["linux"],
            services_to_restart=["ssh.service"],
            top_processes=[{"pid": 1, "name": "a\x1b]0;x\x07", "rss_bytes": 2048, "cpu_ms": 61_000}],
        ),
        HostStorage(agent_id=agent, collected_at=now, stored_at=now),
        StorageVolume(agent_id=agent, mount="/srv", fstype="ext4", total_bytes=100, used_bytes=95, available_bytes=5),
    )  # fmt: skip
    system = (await cli.run("hosts", "system", "web")).out
    for words in ("needed for linux", "75 % of 100 B", "1.50", "ssh.service", "\\x1b]0;x\\x07"):
        assert words in system
    assert "\x1b" not in system
    shown = (await cli.run("hosts", "show", "web")).out
    assert "ssh.service" in shown
    assert "95 %" in (await cli.run("hosts", "storage", "web")).out
    assert (await cli.run("hosts", "metrics", "web", "--since", "7d")).out == ""
    await cli.run("hosts", "metrics", "web", "--since", "soon", expect=2)


async def test_exports_are_whole_or_nothing(api: Api, cli: CommandLine, tmp_path: Path) -> None:
    await api.add_host("=cmd|'/C calc'!A0", tags={"a": "=1"})
    await add_event(api, "one")
    (row,) = csv.DictReader(io.StringIO((await cli.run("export", "hosts")).out, newline=""))
    assert (row["hostname"], row["tags"]) == ("'=cmd|'/C calc'!A0", "a==1")
    out = tmp_path / "events.json"
    await cli.run("export", "events", "--format", "json", "--since", "1h", "--out", str(out))
    assert [one["code"] for one in json.loads(out.read_text())["items"]] == ["one"]
    assert out.stat().st_mode & 0o777 == 0o600
    await cli.run(
        "export", "events", "--code", "none", "--host", "nobody", "--out", str(tmp_path / "b"), expect=3
    )
    await cli.run("export", "events", "--out", str(tmp_path / "none" / "b"), expect=1)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["events.json"]
    listed = (await cli.run("hosts", "list", "--format", "csv")).out
    assert "\"'=cmd|'/C calc'!A0\"" in listed


async def test_events_are_followed(api: Api, cli: CommandLine) -> None:
    await add_event(api, "before")
    listed = (
        await cli.run("events", "list", "--severity", "warning", "--component", "auth", "--since", "1h")
    ).out
    assert "before" in listed
    assert "\\x1b[31m" in listed
    assert (await cli.run("events", "list", "--code", "none")).out == ""
    process = await cli.start("events", "list", "--follow", "--since", "1h")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert b"before" in await process.stdout.readline()
        await add_event(api, "after")
        assert b"after" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert (await cli.end(process)).code == 130


async def test_version_says_both_sides(api: Api, cli: CommandLine) -> None:
    found = await cli.json("version")
    assert found["server"]["version"] == found["client"]["version"] == "0.1.0"
    assert found["server"]["build"] == found["client"]["build"]
