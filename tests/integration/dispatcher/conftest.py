from collections.abc import AsyncIterator

import pytest

from redflag_broker_config.apply import apply
from tests.integration.dispatcher.rig import Rig, connected, opened
from tests.support.nats_server import Broker
from tests.support.postgres import DatabaseUrl


@pytest.fixture
async def rig(database: DatabaseUrl, broker: Broker) -> AsyncIterator[Rig]:
    """A database, a broker with its streams, and the dispatcher's parts on them."""
    async with opened(database.dispatcher) as maker, connected(broker) as nc:
        await apply(nc)
        rig = Rig(database, nc, maker)
        await rig.rows(
            "INSERT INTO key_manifest (version, envelope, created_at) VALUES (1, $1, now())",
            rig.keys.envelope(),
        )
        yield rig
