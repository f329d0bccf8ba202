"""`redflag broker check` against a real nats-server."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from redflag_broker_config.apply import apply
from redflag_broker_config.connect import connect
from redflag_broker_config.permissions import Service
from tests.integration.cli.command_line import CommandLine
from tests.support.nats_server import Broker, running_broker


@pytest.fixture
def synced_broker() -> Iterator[Broker]:
    """As `redflag up` starts it: it syncs to disk always, which the check looks at."""
    with running_broker(sync_always=True) as running:
        yield running


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def as_dispatcher(broker: Broker, *, then_delete: str | None = None) -> None:
    async def ignore(_error: Exception) -> None:
        return

    client = await connect(
        broker.url, broker.dispatcher_seed_file, Service.DISPATCHER, "test", on_error=ignore
    )
    try:
        await apply(client)
        if then_delete is not None:
            await client.request(f"$JS.API.STREAM.DELETE.{then_delete}", b"", timeout=10)
    finally:
        await client.close()


@pytest.fixture
def cli(synced_broker: Broker, tmp_path: Path) -> CommandLine:
    data = tmp_path / "data"
    (data / "secrets").mkdir(parents=True)
    shutil.copy(synced_broker.dispatcher_seed_file, data / "secrets" / "dispatcher.nk")
    shutil.copy(synced_broker.gateway_seed_file, data / "secrets" / "gateway.nk")
    ports = {"nats": port_of(synced_broker.url), "nats-monitor": port_of(synced_broker.monitor_url)}
    (data / "up.json").write_text(json.dumps({"ports": ports}))
    return CommandLine(data)


async def test_a_broker_as_defined_passes(cli: CommandLine, synced_broker: Broker) -> None:
    await as_dispatcher(synced_broker)
    assert (await cli.run("broker", "check")).out == "The broker is as defined.\n"
    assert await cli.json("broker", "check") == {"differences": []}


async def test_a_missing_stream_is_named_and_nothing_is_changed(
    cli: CommandLine, synced_broker: Broker
) -> None:
    await as_dispatcher(synced_broker, then_delete="CMD-3")
    first = await cli.json("broker", "check", expect=1)
    assert {"where": "stream CMD-3", "field": "", "expected": "there", "found": "missing"} in first[
        "differences"
    ]
    assert await cli.json("broker", "check", expect=1) == first
    assert "stream CMD-3" in (await cli.run("broker", "check", expect=1)).out


async def test_a_broker_that_is_away_ends_with_four(cli: CommandLine, synced_broker: Broker) -> None:
    synced_broker.stop()
    ended = await cli.run("broker", "check", expect=4)
    assert "cannot be" in ended.err


async def test_a_gateway_s_credentials_are_of_no_use(cli: CommandLine, synced_broker: Broker) -> None:
    shutil.copy(synced_broker.gateway_seed_file, cli.data / "secrets" / "dispatcher.nk")
    ended = await cli.run("broker", "check", expect=4)
    assert ended.err.startswith("redflag: ")


async def test_a_damaged_seed_ends_with_two(cli: CommandLine) -> None:
    (cli.data / "secrets" / "dispatcher.nk").write_text("nonsense")
    assert "NKey" in (await cli.run("broker", "check", expect=2)).err
