import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.conftest import Bench, eventually
from tests.support.processes import free_port


def _settings(bench: Bench, port: int) -> dict[str, str]:
    return {
        "REDFLAG_GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "REDFLAG_GATEWAY_ORIGIN": f"http://127.0.0.1:{port}",
        "REDFLAG_NATS_URL": bench.broker.url,
        "REDFLAG_GATEWAY_NATS_SEED_FILE": str(bench.broker.gateway_seed_file),
        "REDFLAG_GATEWAY_HMAC_FILE": str(bench.directory / "gateway.hmac"),
        "REDFLAG_ROOT_FINGERPRINT": bench.dispatcher.root_fingerprint,
        "REDFLAG_FLEET": bench.dispatcher.fleet,
        "REDFLAG_OPS_LISTEN": f"127.0.0.1:{free_port()}",
    }


async def _start(settings: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "redflag_gateway",
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )


async def test_process_gets_ready_serves_metrics_and_stops_in_order(bench: Bench) -> None:
    settings = _settings(bench, free_port())
    process = await _start(settings)
    ops = f"http://{settings['REDFLAG_OPS_LISTEN']}"

    async def ready() -> bool:
        try:
            async with bench.http.get(ops + "/readyz") as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        await eventually(ready, "readiness")
        async with bench.http.get(ops + "/metrics") as answer:
            text = await answer.text()
        assert "redflag_gateway_parked_polls 0.0" in text
        async with bench.http.get(settings["REDFLAG_GATEWAY_ORIGIN"] + "/agent/v1/keys") as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    events: list[dict[str, Any]] = [json.loads(line) for line in err.splitlines()]
    assert [event["event"] for event in events][-1] == "gateway.stopped"
    assert {event["program"] for event in events} == {"gateway"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDFLAG_GATEWAY_LISTEN", "nonsense"),
        ("REDFLAG_GATEWAY_ORIGIN", "http://x/path"),
        ("REDFLAG_ROOT_FINGERPRINT", "00"),
        ("REDFLAG_GATEWAY_HMAC_FILE", "/nonexistent"),
        ("REDFLAG_GATEWAY_NATS_SEED_FILE", "/nonexistent"),
        ("REDFLAG_FLEET", ""),
        ("REDFLAG_OPS_LISTEN", "x"),
    ],
)
async def test_wrong_setting_is_one_line_and_exit_code_two(bench: Bench, name: str, value: str) -> None:
    process = await _start({**_settings(bench, free_port()), name: value})
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    lines = err.decode().splitlines()
    assert process.returncode == 2
    assert len(lines) == 1
    assert name in lines[0]


async def test_missing_settings_are_named(tmp_path: Path) -> None:
    process = await _start({"REDFLAG_FLEET": "x", "HOME": str(tmp_path)})
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"REDFLAG_NATS_URL" in err


async def test_taken_address_is_one_line(bench: Bench) -> None:
    running = await bench.start_gateway()
    port = int(running.origin.rpartition(":")[2])
    process = await _start(_settings(bench, port))
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"REDFLAG_GATEWAY_LISTEN" in err
