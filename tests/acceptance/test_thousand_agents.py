"""A thousand enrolled agents: idle they cost the broker nothing; each gets its command once, whatever is deleted."""

import asyncio
import json
import shutil
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from redflag_wire.clock import SystemClock
from redflag_wire.enrolment_token import EnrolmentToken
from tests.support.directories import open_directory
from tests.support.installation import Installation
from tests.support.simulated_agent import SimulatedAgent, in_groups

AGENTS = 1000
DELIVERY_DEADLINE_S = 90
POLL_AGAIN_S = 0.5


@pytest.fixture
def installation() -> Iterator[Installation]:
    with open_directory("thousand") as directory:
        running = Installation(directory, options=("--no-agent",))
        try:
            yield running
        finally:
            running.kill_all()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as opened:
        yield opened


def consumers_on_command_streams(installation: Installation) -> int:
    """Ask the server itself, by /jsz of its monitoring address."""
    with urllib.request.urlopen(
        f"{installation.ready['nats_monitor_url']}/jsz?streams=1&accounts=1", timeout=10
    ) as answer:
        told = json.load(answer)
    streams = [one for account in told["account_details"] for one in account["stream_detail"]]
    commands = [one for one in streams if one["name"].startswith("CMD-")]
    assert len(commands) == 16
    return sum(one["state"]["consumer_count"] for one in commands)


async def enrol_all(installation: Installation, session: aiohttp.ClientSession) -> list[SimulatedAgent]:
    text = installation.json("tokens", "create", "--seats", str(AGENTS))["token"]
    token = EnrolmentToken.parse(text)
    clock = SystemClock()
    agents = [SimulatedAgent(session, installation.ready["gateway_url"], clock, n) for n in range(AGENTS)]
    await in_groups(agents, lambda agent: agent.enrol(token))
    return agents


async def command_each(
    installation: Installation, session: aiohttp.ClientSession, agents: list[SimulatedAgent]
) -> None:
    """A scan for every agent through the API, as an operator's script would ask for it."""
    key = Path(installation.ready["admin_secret_file"]).read_text().strip()
    gate = asyncio.Semaphore(32)

    async def one(agent: SimulatedAgent) -> None:
        url = f"{installation.ready['api_url']}/api/v1/hosts/{agent.agent_id}/scan"
        headers = {"Authorization": f"Bearer {key}"}
        async with gate, session.post(url, json={"subsystem": "all"}, headers=headers) as answer:
            assert answer.status == 202, await answer.text()

    await asyncio.gather(*(one(agent) for agent in agents))


async def poll_until_each_has_worked(agents: list[SimulatedAgent], count: int) -> None:
    """Poll as agents do until each has `count` commands behind it; a poll too early finds nothing and comes again."""

    async def once(agent: SimulatedAgent) -> None:
        if len(agent.done) < count:
            await agent.work(await agent.poll())

    async with asyncio.timeout(DELIVERY_DEADLINE_S):
        while any(len(agent.done) < count for agent in agents):
            await in_groups(agents, once)
            await asyncio.sleep(POLL_AGAIN_S)


async def states_of_commands(installation: Installation, session: aiohttp.ClientSession) -> dict[str, int]:
    key = Path(installation.ready["admin_secret_file"]).read_text().strip()
    counted: dict[str, int] = {}
    cursor = ""
    while True:
        url = f"{installation.ready['api_url']}/api/v1/commands?limit=200{cursor}"
        async with session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
            page: dict[str, Any] = await answer.json()
        for one in page["items"]:
            counted[one["state"]] = counted.get(one["state"], 0) + 1
        if page["next"] is None:
            return counted
        cursor = f"&cursor={page['next']}"


async def until_succeeded(installation: Installation, session: aiohttp.ClientSession, count: int) -> None:
    async with asyncio.timeout(DELIVERY_DEADLINE_S):
        while (states := await states_of_commands(installation, session)) != {"succeeded": count}:
            assert sum(states.values()) == count, states
            await asyncio.sleep(POLL_AGAIN_S)


@pytest.mark.timeout(400)
async def test_idle_agents_cost_nothing_and_each_command_arrives_once(
    installation: Installation, session: aiohttp.ClientSession
) -> None:
    installation.start()
    installation.scan_only_when_asked()
    agents = await enrol_all(installation, session)
    assert len({agent.agent_id for agent in agents}) == AGENTS
    await in_groups(agents, lambda agent: agent.poll())
    assert consumers_on_command_streams(installation) == 0

    await command_each(installation, session, agents)
    await poll_until_each_has_worked(agents, 1)
    await until_succeeded(installation, session, AGENTS)
    assert all(list(agent.deliveries.values()) == [1] for agent in agents)

    # The same again, and while everything is stopped the broker loses its whole store.
    await command_each(installation, session, agents)
    installation.stop()
    shutil.rmtree(installation.data_dir / "nats" / "store")
    installation.start()
    await poll_until_each_has_worked(agents, 2)
    await until_succeeded(installation, session, 2 * AGENTS)
    assert all(sorted(agent.deliveries.values()) == [1, 1] for agent in agents)
