import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from redflag_broker_config import api
from redflag_broker_config.apply import apply
from redflag_broker_config.connect import connect
from redflag_broker_config.subjects import SHARDS, stream_name
from redflag_gateway.app import Gateway
from redflag_gateway.settings import Settings
from redflag_ops.tasks import run_loops
from redflag_wire.clock import SystemClock
from redflag_wire.signing import SigningKey
from tests.integration.gateway.doubles import AgentDouble, DispatcherDouble, new_agent_id
from tests.support.nats_server import Broker
from tests.support.processes import free_port

READY_DEADLINE_S = 20


async def eventually(condition: Callable[[], Any], what: str, deadline_s: float = READY_DEADLINE_S) -> None:
    """Wait for something that no event tells of, looking every few milliseconds."""
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                outcome = condition()
                if asyncio.iscoroutine(outcome):
                    outcome = await outcome
                if outcome:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came: {what}") from None


@dataclass
class RunningGateway:
    gateway: Gateway
    origin: str
    registry: CollectorRegistry
    stop: asyncio.Event
    serving: "asyncio.Task[None]"

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"redflag_gateway_{name}", labels) or 0.0


class Bench:
    """What a test of the gateway works with."""

    def __init__(self, broker: Broker, dispatcher: DispatcherDouble, directory: Path) -> None:
        self.broker = broker
        self.dispatcher = dispatcher
        self.directory = directory
        self.http: aiohttp.ClientSession
        self.gateways: list[RunningGateway] = []
        (directory / "gateway.hmac").write_text(secrets.token_hex(32))

    async def start_gateway(self, **changes: Any) -> RunningGateway:
        port = free_port()
        origin = f"http://127.0.0.1:{port}"
        settings = Settings(
            **{
                "gateway_listen": f"127.0.0.1:{port}",
                "gateway_origin": origin,
                "nats_url": self.broker.url,
                "gateway_nats_seed_file": self.broker.gateway_seed_file,
                "gateway_hmac_file": self.directory / "gateway.hmac",
                "root_fingerprint": self.dispatcher.root_fingerprint,
                "fleet": self.dispatcher.fleet,
                **changes,
            }
        )
        registry, stop = CollectorRegistry(), asyncio.Event()
        gateway = Gateway(settings, registry, SystemClock())
        runner, _url = await gateway.start()

        async def serve() -> None:
            try:
                await run_loops(stop, gateway.loops(stop))
            finally:
                await gateway.stop(runner)

        running = RunningGateway(gateway, origin, registry, stop, asyncio.create_task(serve()))
        self.gateways.append(running)
        return running

    async def ready(self, running: RunningGateway) -> None:
        async def all_well() -> bool:
            return not any((await running.gateway.readiness()).values())

        await eventually(all_well, "readiness")

    def agent(
        self, running: RunningGateway, agent: UUID | None = None, key: SigningKey | None = None
    ) -> AgentDouble:
        agent, key = agent or new_agent_id(), key or SigningKey.generate(secrets.token_bytes)
        return AgentDouble(self.http, running.origin, self.dispatcher.token(agent, key), agent, key)

    async def consumers(self) -> int:
        """Return how many consumers exist on all command streams."""
        infos = [
            await api.request(self.dispatcher.nc, f"STREAM.INFO.{stream_name(n)}") for n in range(SHARDS)
        ]
        return sum(info["state"]["consumer_count"] for info in infos)

    async def messages(self) -> int:
        """Return how many commands lie at the broker."""
        infos = [
            await api.request(self.dispatcher.nc, f"STREAM.INFO.{stream_name(n)}") for n in range(SHARDS)
        ]
        return sum(info["state"]["messages"] for info in infos)


@pytest.fixture
async def bench(broker: Broker, tmp_path: Path) -> AsyncIterator[Bench]:
    async def ignore(_error: Exception) -> None:
        return

    nc = await connect(broker.url, broker.dispatcher_seed_file, "dispatcher", "double", on_error=ignore)
    await apply(nc)
    bench = Bench(broker, DispatcherDouble(nc), tmp_path)
    await bench.dispatcher.publish_manifest()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        bench.http = http
        yield bench
        for running in bench.gateways:
            running.stop.set()
            await running.serving
    await nc.close()


@pytest.fixture
async def gateway(bench: Bench) -> RunningGateway:
    running = await bench.start_gateway()
    await bench.ready(running)
    return running
