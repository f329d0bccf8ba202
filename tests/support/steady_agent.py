"""A simulated agent that lives through outages: it polls, works once per command, and resends until confirmed.

What a host must do is all there (docs/protocol.md 5 and 6), in memory: a command known already is not done again, a
report is kept until the server confirms its number, a failed call waits with jitter. Each piece of work adds one to
`effects`, which is what a test counts.
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from redflag_wire.report_framing import frame_reports
from tests.support.simulated_agent import REPORTS_TYPE, CallFailedError, SimulatedAgent

AWAY = (aiohttp.ClientError, OSError, TimeoutError, CallFailedError)
REPORTS_AT_ONCE = 64


@dataclass
class SteadyAgent(SimulatedAgent):
    """A host that does not give up.

    Attributes:
        effects: command -> how often its work was done; anything but 1 is a fault.
        unconfirmed: number -> envelope of each report the server has not confirmed.
        failures: calls that failed, counted by status or kind of error.
    """

    effects: Counter[UUID] = field(default_factory=Counter)
    unconfirmed: dict[int, bytes] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    async def live(self, stop: asyncio.Event, every_s: float, chance: random.Random) -> None:
        """Poll about every `every_s` seconds until `stop`; whatever fails is tried again at the next turn."""
        while not stop.is_set():
            try:
                await self.turn()
            except AWAY as error:
                self.failures[str(getattr(error, "status", type(error).__name__))] += 1
            try:
                async with asyncio.timeout(every_s * chance.uniform(0.5, 1.5)):
                    await stop.wait()
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """Poll once, do what is new, tell what is not confirmed."""
        answer = await self.poll()
        confirmed = answer["confirmed_rseq"] or 0
        self.unconfirmed = {number: one for number, one in self.unconfirmed.items() if number > confirmed}
        handles = [self._take(item) for item in answer["commands"]]
        for start in range(0, len(self.unconfirmed), REPORTS_AT_ONCE):
            numbers = sorted(self.unconfirmed)[start : start + REPORTS_AT_ONCE]
            body = frame_reports([(self.unconfirmed[number], b"") for number in numbers])
            await self._call("POST", "/reports", body=body, content_type=REPORTS_TYPE, expect=202)
        if handles:
            await self._call("POST", "/commands/ack", body=json.dumps({"handles": handles}).encode())

    def _take(self, item: dict[str, Any]) -> str:
        command, command_digest = self._verify(json.dumps(item["envelope"]).encode())
        self.deliveries[command.cmd] += 1
        if command.cmd not in self.done:
            self.done[command.cmd] = command_digest
            self.effects[command.cmd] += 1
            told = self._carried_out(command, command_digest)
            self.unconfirmed.update(enumerate(told, self.rseq - len(told) + 1))
        handle: str = item["handle"]
        return handle
