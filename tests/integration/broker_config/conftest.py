from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from redflag_broker_config.apply import apply
from tests.integration.broker_config.local_server import LocalServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    server = LocalServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def dispatcher(server: LocalServer) -> AsyncIterator[Client]:
    client = await server.connect("dispatcher")
    await apply(client)
    yield client
    await client.close()


@pytest.fixture
async def gateway(server: LocalServer, dispatcher: Client) -> AsyncIterator[Client]:
    client = await server.connect("gateway")
    yield client
    await client.close()
