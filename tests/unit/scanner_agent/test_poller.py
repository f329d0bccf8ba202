"""The poll loop against a server of a few lines: what it waits, and what it does about refusals and a full disk."""

import asyncio
from typing import Any

import pytest

from redflag_scanner_agent.errors import (
    HelperRefusedError,
    RequestRefusedByServerError,
    ServerUnreachableError,
)
from redflag_scanner_agent.poller import Poller
from redflag_wire.clock import ManualClock
from redflag_wire.report_bodies import HostEvent
from tests.support.agent_fleet import START


class Server:
    """Answers polls from a list; the last answer is repeated."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.answers: list[dict[str, Any] | Exception] = []
        self.paths: list[str] = []
        self.held_s = 0.0

    async def confirm(self) -> None:
        return

    async def call(self, call: Any) -> dict[str, Any]:
        self.paths.append(call.path)
        if not call.path.startswith("/commands?"):
            return {}
        self.clock.advance(self.held_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Helper:
    """The helper's side, in memory."""

    def __init__(self) -> None:
        self.fast = False
        self.fast_after_command: bool | None = None
        self.events: list[HostEvent] = []

    async def beacon(self, _envelope: bytes) -> int | None:
        return 1

    async def command(self, _envelope: bytes) -> dict[str, Any]:
        if self.fast_after_command is not None:
            self.fast = self.fast_after_command
        return {"verdict": "journaled", "ack": True}

    async def event(self, event: HostEvent) -> None:
        self.events.append(event)


class Reporter:
    """Takes confirmations."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def confirmed(self, _rseq: int | None) -> None:
        if self.error is not None:
            raise self.error


class Rig:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock(START)
        self.server, self.helper, self.reporter = Server(self.clock), Helper(), Reporter()
        self.drawn: list[tuple[float, float]] = []
        self.waits: list[float] = []
        self.stop = asyncio.Event()
        self.poller = Poller(
            connection=None,  # type: ignore[arg-type]
            access=self.server,  # type: ignore[arg-type]
            helper=self.helper,  # type: ignore[arg-type]
            reporter=self.reporter,  # type: ignore[arg-type]
            clock=self.clock,
            fast=False,
            manifest_version=1,
            uniform=self._most,
        )

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)
            self.clock.advance(seconds)
            if len(self.waits) >= self.wanted:
                self.stop.set()

        monkeypatch.setattr("redflag_scanner_agent.poller.asyncio.sleep", sleep)
        self.wanted = 1

    def _most(self, low: float, high: float) -> float:
        self.drawn.append((low, high))
        return high

    async def run(self, polls: int) -> list[float]:
        self.wanted = polls
        await self.poller.run(self.stop)
        return self.waits


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def good(*commands: str, **more: object) -> dict[str, Any]:
    found = [{"envelope": {"x": name}, "handle": name} for name in commands]
    return {"commands": found, "beacon": {"b": 1}, "confirmed_rseq": None, "next_poll_s": 300, **more}


async def test_normal_cadence_with_jitter(rig: Rig) -> None:
    rig.server.answers = [good()]
    assert await rig.run(3) == [450.0, 450.0, 450.0]
    assert rig.server.paths == ["/commands?wait=0"] * 3
    assert rig.drawn == [(0.0, 150.0)] * 3


async def test_fast_mode_begins_with_the_answer_that_brought_it_and_ends_likewise(rig: Rig) -> None:
    rig.server.answers = [good("enable"), good(), good("disable"), good()]
    rig.server.held_s = 55.0
    rig.helper.fast_after_command = True
    await rig.run(2)
    assert rig.server.paths == ["/commands?wait=0", "/commands/ack", "/commands?wait=55"]
    assert rig.waits == [0.0, 0.0]
    rig.helper.fast_after_command = False
    rig.waits.clear()
    rig.stop.clear()
    await rig.run(2)
    assert rig.waits == [450.0, 450.0]
    assert rig.server.paths[-1] == "/commands?wait=0"


async def test_end_of_fast_mode_is_seen_at_the_next_beacon(rig: Rig) -> None:
    rig.helper.fast = True
    rig.server.answers = [good()]
    rig.server.held_s = 55.0
    assert await rig.run(2) == [0.0, 0.0]
    rig.helper.fast = False
    rig.stop.clear()
    assert (await rig.run(3))[-1] == 450.0


async def test_failures_back_off_with_full_jitter_and_retry_after_is_obeyed(rig: Rig) -> None:
    away = ServerUnreachableError("connection", "refused")
    told = ServerUnreachableError("overloaded", "status 503", 90.0)
    rig.server.answers = [away, away, away, told, good(), away]
    assert await rig.run(6) == [1.0, 2.0, 4.0, 90.0 + 8.0, 450.0, 1.0]
    assert rig.drawn[:4] == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0)]


async def test_final_refusal_is_an_event_and_tried_again_slowly(rig: Rig) -> None:
    rig.server.answers = [RequestRefusedByServerError(403, "generation_ended", "ask\nsomebody"), good()]
    assert await rig.run(2) == [6.0, 450.0]
    (event,) = rig.helper.events
    assert (event.code, event.data) == ("server_refused", {"status": 403, "reason": "generation_ended"})
    assert event.message == "the server refused a request: ask somebody"


async def test_helper_without_disk_does_not_end_the_agent(rig: Rig) -> None:
    rig.server.answers = [good()]
    rig.reporter.error = HelperRefusedError("journal_write", "the disk is full")
    assert await rig.run(2) == [6.0, 7.0]
    rig.reporter.error = None
    rig.stop.clear()
    assert (await rig.run(3))[-1] == 450.0
