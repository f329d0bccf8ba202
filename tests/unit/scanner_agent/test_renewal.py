import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from redflag_scanner_agent.connection import Call, Connection
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.errors import (
    NotDurableError,
    RequestRefusedByServerError,
    ServerUnreachableError,
)
from redflag_scanner_agent.identity import Generation, Identity, IdentityStore
from redflag_scanner_agent.renewal import Access
from redflag_wire import base64_strict
from redflag_wire.clock import ManualClock
from redflag_wire.http_signature import Tag
from tests.support.agent_fleet import START

POLL = Call(method="GET", path="/commands?wait=0")
MACHINE = "0" * 64


def token(clock: ManualClock, name: str, life_s: int = 3600) -> str:
    now = int(clock.now().timestamp())
    claims = json.dumps({"iat": now, "exp": now + life_s, "jti": name}).encode()
    return f"e30.{base64_strict.encode_url(claims)}.AAAA"


def secret(gen: int) -> str:
    return base64_strict.encode(bytes([gen]) * 32)


class Server(Connection):
    """Answers by the rules of docs/protocol.md 8.4; `refuse` may break in before."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock_of_server = clock
        self.confirmed, self.issued = 0, 1
        self.token = token(clock, "first")
        self.calls: list[Call] = []
        self.refuse: Callable[[Call], None] = lambda _call: None
        self.after: Callable[[Call], None] = lambda _call: None

    async def call(self, call: Call) -> dict[str, Any]:
        self.calls.append(call)
        self.refuse(call)
        answer = self.answer(call)
        self.after(call)
        return answer

    def answer(self, call: Call) -> dict[str, Any]:
        if call.path == "/renew/confirm":
            found = json.loads(call.body)
            assert found["secret"] == secret(found["gen"])
            assert call.tag is Tag.RENEW
            self.confirmed = found["gen"]
            return {"gen": self.confirmed}
        if call.path == "/renew":
            found = json.loads(call.body)
            if found["gen"] < self.confirmed:
                raise RequestRefusedByServerError(403, "generation_ended", "")
            self.confirmed, self.issued = found["gen"], found["gen"] + 1
            self.token = token(self.clock_of_server, f"token-{self.issued}")
            return {"access_token": self.token, "gen": self.issued, "secret": secret(self.issued)}
        assert call.tag is Tag.AGENT
        if call.token != self.token:
            raise RequestRefusedByServerError(401, "token_expired", "")
        return {"commands": []}

    def paths(self) -> list[str]:
        return [call.path.split("?")[0] for call in self.calls]


class Agent:
    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(START)
        self.server = Server(self.clock)
        self.files = DurableDirectory(path)
        self.store = IdentityStore(self.files)
        self.store.save(
            Identity(
                server="https://redflag.example.org",
                fleet=str(uuid4()),
                agent=uuid4(),
                access_token=self.server.token,
                confirmed=None,
                issued=Generation(gen=1, secret=secret(1)),
            )
        )
        self.start()

    def start(self) -> None:
        found = self.store.load()
        assert found is not None
        self.access = Access(self.server, self.store, found, MACHINE, self.clock)

    @property
    def kept(self) -> Identity:
        found = self.store.load()
        assert found is not None
        return found


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.files.close()


async def test_first_generation_is_confirmed_once(agent: Agent) -> None:
    await agent.access.confirm()
    await agent.access.confirm()
    assert agent.server.paths() == ["/renew/confirm"]
    assert agent.kept.confirmed == Generation(gen=1, secret=secret(1))
    assert agent.kept.issued is None


async def test_token_is_renewed_before_it_ends(agent: Agent) -> None:
    await agent.access.confirm()
    await agent.access.call(POLL)
    agent.clock.advance(2401)
    await agent.access.call(POLL)
    assert agent.server.paths()[1:] == ["/commands", "/renew", "/renew/confirm", "/commands"]
    assert agent.kept.access_token == agent.server.token
    assert agent.kept.confirmed == Generation(gen=2, secret=secret(2))


async def test_token_that_the_server_calls_ended_is_renewed_at_once(agent: Agent) -> None:
    agent.server.token = token(agent.clock, "another")
    assert await agent.access.call(POLL) == {"commands": []}


@pytest.mark.parametrize("years", [-10, 10])
async def test_wrong_wall_clock_costs_one_renewal(agent: Agent, years: int) -> None:
    agent.clock.set_now(START.replace(year=START.year + years))
    agent.start()
    agent.server.clock_of_server = ManualClock(START)
    for _ in range(3):
        await agent.access.call(POLL)
    assert agent.server.paths().count("/renew") == 1


async def test_lost_answer_to_a_renewal_locks_nobody_out(agent: Agent) -> None:
    await agent.access.confirm()

    def lose(call: Call) -> None:
        if call.path == "/renew":
            agent.server.after = lambda _call: None
            raise ServerUnreachableError("no_answer", "lost")

    agent.server.after = lose
    agent.clock.advance(3000)
    with pytest.raises(ServerUnreachableError):
        await agent.access.call(POLL)
    assert agent.kept.newest.gen == 1
    await agent.access.call(POLL)
    assert agent.kept.confirmed == Generation(gen=2, secret=secret(2))


async def test_lost_answer_to_a_confirmation_is_asked_again(agent: Agent) -> None:
    def lose(call: Call) -> None:
        raise ServerUnreachableError("no_answer", "lost")

    agent.server.after = lose
    with pytest.raises(ServerUnreachableError):
        await agent.access.confirm()
    assert agent.kept.issued is not None
    agent.server.after = lambda _call: None
    await agent.access.confirm()
    assert agent.kept.issued is None


async def test_full_disk_keeps_the_old_generation_and_goes_on(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.access.confirm()

    def full(_identity: Identity) -> None:
        raise NotDurableError("state_not_durable", "the disk is full")

    agent.clock.advance(3000)
    with monkeypatch.context() as patch:
        patch.setattr(agent.store, "save", full)
        assert await agent.access.call(POLL) == {"commands": []}
    assert "/renew/confirm" not in agent.server.paths()[1:]  # never confirmed: it is not on the disk
    assert agent.kept.newest.gen == 1
    agent.clock.advance(3000)
    await agent.access.call(POLL)
    assert agent.kept.newest.gen == 2


async def test_ended_generation_is_said_and_never_enrols_again(agent: Agent) -> None:
    await agent.access.confirm()
    agent.server.confirmed = 5
    agent.clock.advance(3000)
    before = agent.kept
    with pytest.raises(RequestRefusedByServerError) as caught:
        await agent.access.call(POLL)
    assert caught.value.code == "generation_ended"
    assert agent.kept == before
    assert not [path for path in agent.server.paths() if "enroll" in path]
