import asyncio

import asyncpg

from redflag_broker_config.connect import connect
from tests.support.nats_server import Broker
from tests.support.postgres import DatabaseUrl


async def fetch(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)  # type: ignore[no-untyped-call]
    try:
        return await connection.fetchval(query, timeout=10)
    finally:
        await connection.close(timeout=10)


async def test_database_is_migrated_and_roles_can_log_in(database: DatabaseUrl) -> None:
    assert await fetch(database, "SELECT count(*) FROM agent") == 0
    assert await fetch(database.dispatcher, "SELECT current_user") == "redflag_dispatcher"
    assert await fetch(database.dashboard, "SELECT current_user") == "redflag_dashboard"


async def test_empty_database_has_no_tables(empty_database: DatabaseUrl) -> None:
    assert await fetch(empty_database, "SELECT to_regclass('agent')") is None


async def nothing(_error: Exception) -> None:
    return


async def test_broker_lets_its_services_in_and_nobody_else(broker: Broker) -> None:
    client = await connect(broker.url, broker.dispatcher_seed_file, "dispatcher", "test", on_error=nothing)
    assert client.is_connected
    await client.close()
    # Spoken by hand: nats-py leaves its socket open when the server refuses it.
    host, port = broker.url.removeprefix("nats://").split(":")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(host, int(port))
        assert (await reader.readline()).startswith(b"INFO ")
        writer.write(b"CONNECT {}\r\nPING\r\n")
        assert (await reader.readline()).strip() == b"-ERR 'Authorization Violation'"
        writer.close()
        await writer.wait_closed()


async def test_broker_killed_and_started_is_at_the_same_address(broker: Broker) -> None:
    broker.kill()
    broker.start()
    client = await connect(broker.url, broker.gateway_seed_file, "gateway", "test", on_error=nothing)
    assert client.is_connected
    await client.close()
