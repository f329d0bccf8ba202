"""The dispatcher as a process: it waits for what is missing, serves, survives, and stops in time."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from redflag_broker_config.subjects import BEACON_KEY, KV_BEACON, KV_KEYS, SERVICE_ENROLL, manifest_key
from redflag_dispatcher import buckets
from redflag_wire.beacon import Beacon
from redflag_wire.envelope import parse_envelope, verify_envelope
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import CommandState, Outcome
from tests.integration.dispatcher.rig import FLEET, Rig, connected
from tests.support.nats_server import Broker

DEADLINE_S = 60.0


class Program:
    """A running dispatcher and what it logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.records: list[dict[str, Any]] = []
        self._logged = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode()
            self.records.append(json.loads(text) if text.startswith("{") else {"event": "text", "text": text})
            self._logged.set()

    async def logged(self, event: str, after: int = 0) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for record in self.records[after:]:
                    if record["event"] == event:
                        return record
                self._logged.clear()
                await self._logged.wait()

    async def ops(self, path: str) -> tuple[int, str]:
        url = (await self.logged("ops.listening"))["url"]
        async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
            return answer.status, await answer.text()

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
            await self._reader
            return code

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()


@pytest.fixture
def environment(rig: Rig, broker: Broker, tmp_path: Path) -> dict[str, str]:
    rig.keys.write(tmp_path)
    return {
        **os.environ,
        "REDFLAG_DISPATCHER_DATABASE_URL": rig.url.dispatcher,
        "REDFLAG_NATS_URL": broker.url,
        "REDFLAG_DISPATCHER_NATS_SEED_FILE": str(broker.dispatcher_seed_file),
        "REDFLAG_KEYS_DIR": str(tmp_path),
        "REDFLAG_FLEET": FLEET,
        "REDFLAG_DISPATCHER_RECONCILE_S": "1",
    }


@asynccontextmanager
async def program(environment: dict[str, str]) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "redflag_dispatcher", env=environment, stderr=asyncio.subprocess.PIPE
    )
    running = Program(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()


async def until_state(rig: Rig, command: Any, state: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await rig.state(command) != state:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)


async def test_program_takes_a_request_to_its_end_and_stops_in_time(
    rig: Rig, environment: dict[str, str]
) -> None:
    (host,) = await rig.add_hosts()
    async with program(environment) as running:
        await running.logged("dispatcher.ready")
        assert (await running.ops("/readyz"))[0] == 200
        assert await buckets.get(rig.nc, KV_KEYS, manifest_key(1)) == rig.keys.envelope()
        beacon = await buckets.get(rig.nc, KV_BEACON, BEACON_KEY)
        assert beacon is not None
        verified = verify_envelope(parse_envelope(beacon), PayloadType.BEACON, [rig.keys.beacon.public])
        assert Beacon.from_bytes(verified.payload).manifest_version == 1

        (command,) = await rig.request([host])
        await until_state(rig, command, "queued")
        payload = await rig.payload(command)
        await rig.send_up(
            host,
            host.of_command(payload, CommandState.RECEIVED),
            host.of_command(payload, CommandState.STARTED),
            host.of_command(payload, CommandState.DONE, Outcome.SUCCEEDED),
        )
        await until_state(rig, command, "succeeded")
        op = str(await rig.value("SELECT op FROM command"))
        for event in ("signer.signed", "relay.published", "ingest.command"):
            assert (await running.logged(event))["op"] == op
        metrics = (await running.ops("/metrics"))[1]
        assert 'redflag_commands_total{kind="scan",state="succeeded"} 1.0' in metrics
        assert set(re.findall(r"^(?:# TYPE )?(\w+)", metrics, re.MULTILINE)) >= {"redflag_outbox_lag_seconds"}
        assert await running.stop() == 0


async def test_two_programs_share_the_work(rig: Rig, environment: dict[str, str]) -> None:
    hosts = await rig.add_hosts(50)
    async with program(environment) as one, program(environment) as two:
        await one.logged("dispatcher.ready")
        await two.logged("dispatcher.ready")
        commands = await rig.request(hosts)
        for command in commands:
            await until_state(rig, command, "queued")
        # What the schedulers of both ask for beside it is counted apart: each host's scan once, too.
        asked = "command_id IN (SELECT id FROM command WHERE source = 'manual')"
        assert await rig.value(f"SELECT count(*) FROM signing_log WHERE {asked}") == 50  # noqa: S608
        events = f"SELECT count(*) FROM command_event WHERE to_state = 'queued' AND {asked}"  # noqa: S608
        assert await rig.value(events) == 50
        ids = {f"{command}:1" for command in commands}
        for host in hosts[:10]:
            found = [message.headers["Nats-Msg-Id"] for message in await rig.messages(host.id)]
            assert len([one for one in found if one in ids]) == 1
            assert len(found) == len(set(found))


async def test_start_waits_for_the_broker_and_says_so(
    rig: Rig, broker: Broker, environment: dict[str, str]
) -> None:
    broker.stop()
    async with program(environment) as running:
        record = await running.logged("start.waiting")
        assert record["what"] == "broker"
        status, body = await running.ops("/readyz")
        assert status == 503
        assert "broker" in json.loads(body)["checks"]["start"]
        assert (await running.ops("/livez"))[0] == 200
        broker.start()
        await running.logged("dispatcher.ready")
        assert (await running.ops("/readyz"))[0] == 200
        assert await running.stop() == 0


async def test_start_waits_for_the_database_and_says_so(rig: Rig, environment: dict[str, str]) -> None:
    environment["REDFLAG_DISPATCHER_DATABASE_URL"] = "postgresql://nobody:x@127.0.0.1:1/none"
    async with program(environment) as running:
        assert (await running.logged("start.waiting"))["what"] == "database"
        assert (await running.ops("/readyz"))[0] == 503
        assert await running.stop() == 0


async def test_start_waits_while_its_keys_are_not_in_the_manifest(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "command.key").write_text(rig.keys.root.to_text("command"))
    async with program(environment) as running:
        record = await running.logged("start.waiting")
        assert "command key" in record["error"]
        assert await running.stop() == 0


async def test_manifest_of_other_roots_in_the_database_is_not_believed(
    rig: Rig, environment: dict[str, str]
) -> None:
    other = type(rig.keys)(command=rig.keys.command, beacon=rig.keys.beacon, access=rig.keys.access)
    await rig.rows("UPDATE key_manifest SET envelope = $1", other.envelope())
    async with program(environment) as running:
        record = await running.logged("start.waiting")
        assert "fingerprint" in record["error"]


@pytest.mark.parametrize("missing", ["REDFLAG_KEYS_DIR", "REDFLAG_FLEET", "REDFLAG_NATS_URL"])
async def test_missing_setting_is_one_clear_line(environment: dict[str, str], missing: str) -> None:
    del environment[missing]
    async with program(environment) as running:
        assert await running.ended() == 2
        (record,) = running.records
        assert missing in record["text"]


async def test_broker_restart_with_a_wiped_store_is_survived(
    rig: Rig, broker: Broker, environment: dict[str, str]
) -> None:
    (host,) = await rig.add_hosts()
    async with program(environment) as running:
        await running.logged("dispatcher.ready")
        (command,) = await rig.request([host])
        await until_state(rig, command, "queued")
        broker.kill()
        broker.wipe_store()
        before = len(running.records)
        broker.start()
        await running.logged("broker.reconnected", before)
        await running.logged("relay.published", before)
        async with connected(broker) as nc:
            fresh = Rig(rig.url, nc, rig.maker)
            (message,) = await fresh.messages(host.id)
            assert message.headers["Nats-Msg-Id"] == f"{command}:2"
            await running.logged("keys.published", before)
            assert await buckets.get(nc, KV_KEYS, manifest_key(1)) == rig.keys.envelope()
            payload = await fresh.payload(command)
            await fresh.send_up(host, host.of_command(payload, CommandState.RECEIVED))
            await until_state(rig, command, "delivered")
            answer = json.loads((await nc.request(SERVICE_ENROLL, b"{}", timeout=5)).data)
            assert answer["status"] == 400
        assert await running.stop() == 0


async def test_cut_database_connections_are_survived(rig: Rig, environment: dict[str, str]) -> None:
    (host,) = await rig.add_hosts()
    async with program(environment) as running:
        await running.logged("dispatcher.ready")
        for _ in range(3):
            cut = await rig.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'redflag_dispatcher' AND application_name LIKE 'redflag-dispatcher%' "
                "AND datname = current_database()"
            )
            assert cut
            (command,) = await rig.request([host])
            await until_state(rig, command, "queued")
            payload = await rig.payload(command)
            await rig.send_up(host, host.of_command(payload, CommandState.DONE, Outcome.SUCCEEDED))
            await until_state(rig, command, "succeeded")
        assert await running.stop() == 0
