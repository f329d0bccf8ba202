import asyncio
from collections.abc import Mapping

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from redflag_ops import ops_server
from redflag_ops.ops_server import OpsServer


async def fetch(url: str, token: str | None = None) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def well() -> Mapping[str, str | None]:
    return {"broker": None}


async def test_probes_and_metrics_answer() -> None:
    registry = CollectorRegistry()
    Counter("redflag_polls", "Polls answered", registry=registry).inc()
    server = OpsServer(("127.0.0.1", 0), registry, well)
    url = await server.start()
    try:
        assert await fetch(f"{url}/livez") == (200, "ok\n")
        assert (await fetch(f"{url}/readyz"))[0] == 200
        assert "redflag_polls_total 1.0" in (await fetch(f"{url}/metrics"))[1]
    finally:
        await server.stop()


async def test_readyz_names_what_is_not_well() -> None:
    async def away() -> Mapping[str, str | None]:
        return {"broker": "not connected", "database": None}

    server = OpsServer(("127.0.0.1", 0), CollectorRegistry(), away)
    url = await server.start()
    try:
        status, body = await fetch(f"{url}/readyz")
    finally:
        await server.stop()
    assert status == 503
    assert "not connected" in body


async def test_a_check_that_hangs_is_a_reason_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops_server, "READINESS_DEADLINE_S", 0.01)

    async def hangs() -> Mapping[str, str | None]:
        await asyncio.Event().wait()
        return {}

    server = OpsServer(("127.0.0.1", 0), CollectorRegistry(), hangs)
    url = await server.start()
    try:
        status, body = await fetch(f"{url}/readyz")
    finally:
        await server.stop()
    assert status == 503
    assert "no answer within" in body


async def test_a_token_guards_metrics_and_details() -> None:
    server = OpsServer(("127.0.0.1", 0), CollectorRegistry(), well, token="t0ken")
    url = await server.start()
    try:
        assert (await fetch(f"{url}/metrics"))[0] == 401
        assert (await fetch(f"{url}/metrics", "wr\u00f6ng"))[0] == 401
        assert (await fetch(f"{url}/metrics", "t0ken"))[0] == 200
        assert "broker" not in (await fetch(f"{url}/readyz"))[1]
        assert "broker" in (await fetch(f"{url}/readyz", "t0ken"))[1]
    finally:
        await server.stop()
