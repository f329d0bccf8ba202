"""A thousand agents under load while each program in turn is killed: no accepted command is lost, none done twice."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest

from redflag_wire.clock import SystemClock
from redflag_wire.enrolment_token import EnrolmentToken
from tests.support.directories import open_directory
from tests.support.installation import Installation
from tests.support.simulated_agent import in_groups
from tests.support.steady_agent import AWAY, SteadyAgent

AGENTS = 1000
POLL_EVERY_S = 5.0
ASKED_PER_S = 20
PROGRAMS = ("gateway", "dispatcher", "dashboard", "nats", "postgres")
UNDER_LOAD_S = 4.0  # before the first kill, between two, and after the last
BACK_DEADLINE_S = 60.0
SETTLE_DEADLINE_S = 150.0
LOOK_AGAIN_S = 0.2


@pytest.fixture
def installation() -> Iterator[Installation]:
    with open_directory("restarts") as directory:
        running = Installation(directory, options=("--no-agent",))
        try:
            yield running
        finally:
            running.kill_all()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as opened:
        yield opened


@dataclass
class Operator:
    """Asks for scans all the time, and asks again with the same Idempotency-Key until there is an answer.

    Attributes:
        accepted: the commands the API said yes to, by host.
        refused: answers that are neither yes nor a fault of the moment, counted.
        asked_again: requests that met an outage.
    """

    installation: Installation
    session: aiohttp.ClientSession
    agents: list[SteadyAgent]
    chance: random.Random
    accepted: dict[UUID, UUID] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0

    async def work(self, stop: asyncio.Event) -> None:
        order = list(self.agents)
        self.chance.shuffle(order)
        async with asyncio.TaskGroup() as asking:
            for number in range(10**9):
                if stop.is_set():
                    return
                asking.create_task(self._ask(order[number % len(order)]))
                await asyncio.sleep(1 / ASKED_PER_S)

    async def _ask(self, agent: SteadyAgent) -> None:
        key = Path(self.installation.ready["admin_secret_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": str(uuid4())}
        url = f"{self.installation.ready['api_url']}/api/v1/hosts/{agent.agent_id}/scan"
        while True:
            try:
                async with self.session.post(url, json={"subsystem": "all"}, headers=headers) as answer:
                    told = await answer.json()
                    status = answer.status
            except AWAY:
                status = 503
            if status == 202:
                assert agent.agent_id is not None
                self.accepted[UUID(told["id"])] = agent.agent_id
                return
            if status == 409 and told["code"] == "already_pending":
                return  # the scan of an earlier round still waits: no second one, and that is right
            # The request whose answer was lost may still be at work; then this one is told so and comes again.
            if status not in {503, 429} and not (status == 409 and told["code"].startswith("idempotency")):
                self.refused[f"{status} {told.get('code')}"] += 1
                return
            self.asked_again += 1
            await asyncio.sleep(self.chance.uniform(0.2, 1.0))


async def kill_and_wait(installation: Installation, program: str) -> None:
    before = installation.ready["pids"][program]
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(BACK_DEADLINE_S):
        # Another process's state: there is nothing to await but the file it writes.
        while installation.ready["pids"].get(program) in {before, None}:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN_S)


async def states(installation: Installation, session: aiohttp.ClientSession) -> dict[UUID, str]:
    key = Path(installation.ready["admin_secret_file"]).read_text().strip()
    found: dict[UUID, str] = {}
    cursor = ""
    while True:
        url = f"{installation.ready['api_url']}/api/v1/commands?kind=scan&limit=200{cursor}"
        async with session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
            assert answer.status == 200, await answer.text()
            page = await answer.json()
        found.update(
            {
                UUID(one["id"]): one["state"]
                for one in page["items"]
                if one.get("source", "manual") == "manual"
            }
        )
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.mark.timeout(600)
async def test_no_command_is_lost_or_done_twice_through_a_restart_of_each_program(
    installation: Installation, session: aiohttp.ClientSession
) -> None:
    installation.start()
    installation.scan_only_when_asked()
    token = EnrolmentToken.parse(installation.json("tokens", "create", "--seats", str(AGENTS))["token"])
    clock, chance = SystemClock(), random.Random(20261121)  # noqa: S311 - a seed, so that a failing run can be had again
    agents = [SteadyAgent(session, installation.ready["gateway_url"], clock, n) for n in range(AGENTS)]
    await in_groups(agents, lambda agent: agent.enrol(token))
    operator = Operator(installation, session, agents, chance)
    asked_enough, settled = asyncio.Event(), asyncio.Event()

    async def outages() -> None:
        await asyncio.sleep(UNDER_LOAD_S)
        for program in PROGRAMS:
            await kill_and_wait(installation, program)
            await asyncio.sleep(UNDER_LOAD_S)
        asked_enough.set()

    async def settle() -> None:
        await asked_enough.wait()
        async with asyncio.timeout(SETTLE_DEADLINE_S):
            while True:
                # Taken before the list is read: requests in flight are still answered meanwhile.
                accepted = set(operator.accepted)
                found = await states(installation, session)
                assert found.keys() >= accepted
                if set(found.values()) == {"succeeded"} and found.keys() >= operator.accepted.keys():
                    break
                await asyncio.sleep(1.0)
        settled.set()

    async with asyncio.TaskGroup() as tasks:
        for agent in agents:
            tasks.create_task(agent.live(settled, POLL_EVERY_S, random.Random(agent.number)))  # noqa: S311
        tasks.create_task(operator.work(asked_enough))
        tasks.create_task(outages())
        tasks.create_task(settle())

    done = Counter[UUID]()
    for agent in agents:
        done.update(agent.effects)
    failed = sum((agent.failures for agent in agents), Counter[str]())
    told = f"\naccepted {len(operator.accepted)}, asked again {operator.asked_again}, calls that failed {dict(failed)}"
    sys.stdout.write(told + "\n")  # shown with -s
    assert not operator.refused
    assert len(operator.accepted) > AGENTS // 10
    assert operator.asked_again > 0, "no request met an outage: nothing was shown"
    assert done.keys() >= operator.accepted.keys(), "an accepted command was lost"
    assert set(done.values()) == {1}, "a command was done twice"
    # What the API answered is all there is: no row without an answer that a client got or could ask for again.
    assert set(await states(installation, session)) == set(operator.accepted)
