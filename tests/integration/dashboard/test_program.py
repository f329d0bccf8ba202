"""The program as a process: it starts without its database, says so, and stops when told to."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from redflag_store.queries.api_keys import insert_api_key, new_key_text
from redflag_wire.clock import SystemClock
from redflag_wire.signing import SigningKey
from tests.integration.store.rows import agent_row, opened
from tests.support.postgres import DatabaseUrl
from tests.support.processes import free_port

START_DEADLINE_S = 30


@asynccontextmanager
async def program(settings: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start it with these settings only; kill it at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "redflag_dashboard",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **settings}, limit=1024 * 1024,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until_started(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stderr is not None
    async with asyncio.timeout(START_DEADLINE_S):
        while line := await process.stderr.readline():
            record: dict[str, Any] = json.loads(line)
            if record["event"] == "dashboard.started":
                return record
    raise AssertionError("it ended before it had started")


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "intent.key"
    key.write_text(SigningKey.generate(os.urandom).to_text("intent"))
    return {
        "REDFLAG_DASHBOARD_LISTEN": f"127.0.0.1:{free_port()}",
        "REDFLAG_DASHBOARD_DATABASE_URL": f"postgresql://nobody:x@127.0.0.1:{free_port()}/nothing",
        "REDFLAG_INTENT_KEY_FILE": str(key),
        "REDFLAG_FLEET": str(uuid4()),
        "REDFLAG_GATEWAY_ORIGIN": "https://gateway.example.org",
    }


async def test_it_starts_and_says_so_while_the_database_is_away(settings: dict[str, str]) -> None:
    async with program(settings) as process, aiohttp.ClientSession() as http:
        ops = (await until_started(process))["ops"]
        url = f"http://{settings['REDFLAG_DASHBOARD_LISTEN']}/api/v1"
        async with http.get(f"{ops}/livez") as answer:
            assert answer.status == 200
        async with http.get(f"{ops}/readyz") as answer:
            assert answer.status == 503
            assert "does not answer" in (await answer.json())["checks"]["database"]
        async with http.get(f"{url}/info") as answer:
            assert answer.status == 200
        async with http.get(f"{url}/hosts", headers={"Authorization": "Bearer rfk_x"}) as answer:
            assert answer.status == 503
            assert (await answer.json(content_type=None))["code"] == "database_unavailable"
            assert answer.headers["Retry-After"]
        process.terminate()
        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_it_serves_and_lets_go_of_those_who_wait_when_it_stops(
    settings: dict[str, str], database: DatabaseUrl
) -> None:
    text = new_key_text()
    async with opened(database) as make, make.begin() as session:
        await insert_api_key(session, text, name="admin", scopes=["admin"], clock=SystemClock())
        session.add(agent_row(hostname="web-04"))
    settings["REDFLAG_DASHBOARD_DATABASE_URL"] = database.dashboard
    headers = {"Authorization": f"Bearer {text}"}
    async with program(settings) as process, aiohttp.ClientSession(headers=headers) as http:
        ops = (await until_started(process))["ops"]
        url = f"http://{settings['REDFLAG_DASHBOARD_LISTEN']}/api/v1"
        async with http.get(f"{ops}/readyz") as answer:
            assert answer.status == 200, await answer.text()
        async with http.post(f"{url}/hosts/web-04/scan", json={}) as answer:
            command = (await answer.json())["id"]

        async def wait_long() -> str:
            async with http.get(f"{url}/commands/{command}?wait=50") as answer:
                return str((await answer.json())["state"])

        waiting = asyncio.create_task(wait_long())
        async with asyncio.timeout(10):
            while "redflag_http_waiting 1.0" not in await (await http.get(f"{ops}/metrics")).text():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            assert await process.wait() == 0
        assert await waiting == "requested"
        log = [json.loads(line) for line in (await process.communicate())[1].splitlines()]
        scan = next(one for one in log if one["event"] == "http.request" and one["method"] == "POST")
        assert scan["route"] == "/api/v1/hosts/{host}/scan"
        assert scan["status"] == 202
        assert scan["op"]
        assert not [one for one in log if one["level"] in ("error", "critical")]
        assert text not in json.dumps(log)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDFLAG_FLEET", "x"),
        ("REDFLAG_INTENT_KEY_FILE", "/nowhere"),
        ("REDFLAG_DASHBOARD_LISTEN", "7481"),
        ("REDFLAG_DASHBOARD_DATABASE_URL", "mysql://u:secret-of-the-database@h/d"),
        ("REDFLAG_GATEWAY_ORIGIN", "gateway"),
    ],
)
async def test_a_wrong_setting_is_one_line_that_names_it(
    settings: dict[str, str], name: str, value: str
) -> None:
    async with program({**settings, name: value}) as process:
        async with asyncio.timeout(START_DEADLINE_S):
            _, said = await process.communicate()
        assert process.returncode == 2
        lines = said.decode().strip().splitlines()
        assert len(lines) == 1
        assert name in lines[0]
        assert "secret-of-the-database" not in lines[0]


async def test_a_key_of_another_use_is_refused(settings: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "command.key"
    other.write_text(SigningKey.generate(os.urandom).to_text("command"))
    async with program({**settings, "REDFLAG_INTENT_KEY_FILE": str(other)}) as process:
        async with asyncio.timeout(START_DEADLINE_S):
            _, said = await process.communicate()
        assert process.returncode == 2
        assert "no intent key" in said.decode()
