"""poll_empty: what an idle agent's poll costs the gateway, beside a bare handler that answers the same bytes.

The full request: request signature, token, status, nothing pending, the empty answer. CPU is that of the server's
process, from its own accounting; the client's does not count.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from redflag_wire.clock import SystemClock
from redflag_wire.enrolment_token import EnrolmentToken
from tests.bench.result import BenchResult, Round
from tests.support.directories import open_directory
from tests.support.installation import Installation
from tests.support.processes import free_port
from tests.support.simulated_agent import SimulatedAgent, in_groups

ROUNDS = 5
POLLS = 3000  # a round
AGENTS = 50
TARGET = 2.2
# Fifty agents ask here for what thousands would.
OFTEN = {"REDFLAG_GATEWAY_AGENT_RATE": "10000", "REDFLAG_GATEWAY_AGENT_BURST": "100000"}


def cpu_seconds(pid: int) -> float:
    """The CPU time a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def microseconds_each(pid: int, work: Callable[[], Awaitable[None]]) -> float:
    """CPU microseconds of the process for each of the POLLS polls that `work` makes."""
    before = cpu_seconds(pid)
    await work()
    return (cpu_seconds(pid) - before) / POLLS * 1e6


async def answers(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until something answers there."""
    async with asyncio.timeout(15):
        while True:
            try:
                async with session.get(url) as answer:
                    await answer.read()
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def measure() -> BenchResult:
    """Start an installation and the floor, enrol agents, and measure in turns."""
    with open_directory("bench") as directory:
        installation = Installation(directory, OFTEN, options=("--no-agent",))
        installation.start()
        installation.scan_only_when_asked()
        floor = None
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as session:
                seats = installation.json("tokens", "create", "--seats", str(AGENTS))
                token = EnrolmentToken.parse(seats["token"])
                gateway = installation.ready["gateway_url"]
                agents = [SimulatedAgent(session, gateway, SystemClock(), n) for n in range(AGENTS)]
                await in_groups(agents, lambda agent: agent.enrol(token))
                body = json.dumps(await agents[0].poll()).encode()
                port = free_port()
                floor = start_floor(port, body, directory / "answer.json")
                await answers(session, f"http://127.0.0.1:{port}/agent/v1/commands")
                rounds = await in_turns(installation.ready["pids"]["gateway"], floor.pid, port, agents)
        finally:
            if floor is not None:
                floor.terminate()
                floor.wait()
            installation.stop()
    what = f"{POLLS} signed polls of {AGENTS} idle agents a round, server CPU per poll"
    return BenchResult("poll_empty", what, "us", TARGET, rounds)


def start_floor(port: int, body: bytes, file: Path) -> "subprocess.Popen[bytes]":
    """Start the bare handler as a process of its own; it reads what to answer from the file."""
    file.write_bytes(body)
    return subprocess.Popen([sys.executable, "-m", "tests.bench.bare_handler", str(port), str(file)])


async def in_turns(gateway_pid: int, floor_pid: int, port: int, agents: list[SimulatedAgent]) -> list[Round]:
    """Measure ours and the floor one after the other, ROUNDS times; the first turn warms up and does not count."""
    origins = agents[0].origin, f"http://127.0.0.1:{port}"

    async def polls() -> None:
        for _ in range(POLLS // AGENTS):
            await in_groups(agents, lambda agent: agent.poll(), at_once=8)

    rounds = []
    for number in range(ROUNDS + 1):
        figures = []
        for origin, pid in zip(origins, (gateway_pid, floor_pid), strict=True):
            for agent in agents:
                agent.origin = origin
            figures.append(await microseconds_each(pid, polls))
        if number:
            rounds.append(Round(*figures))
    return rounds
