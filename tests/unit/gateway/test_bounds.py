"""The gateway's arithmetic of bounds: heads, places, rates, records, pace."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Self, cast
from uuid import UUID

import pytest
from aiohttp import web

from redflag_gateway import body
from redflag_gateway.agent_rate import AgentRates
from redflag_gateway.body import DEADLINE_S, GRACE_S, time_for
from redflag_gateway.doorkeeper import Doorkeeper, NoPlace, Place
from redflag_gateway.listener import CONNECTIONS_MIN, FILES_KEPT, connections_for
from redflag_gateway.log_budget import LogBudget
from redflag_gateway.request_head import Head, RequestHead

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ONE, OTHER = UUID(int=1), UUID(int=2)


def test_a_head_is_whole_at_its_empty_line_however_it_is_cut() -> None:
    for size in (1, 2, 3, 5, len(GET)):
        head = RequestHead()
        states = [head.feed(GET[at : at + size]) for at in range(0, len(GET), size)]
        assert states[-1] is Head.WHOLE
        assert set(states[:-1]) <= {Head.OPEN}


@pytest.mark.parametrize("early", [b"\r\n", b"\r\n\r\n", b"\n" * 10, b"\r\n\r\n\r\n\r\n"])
def test_empty_lines_before_a_head_are_no_head(early: bytes) -> None:
    head = RequestHead()
    assert head.feed(early) is Head.NOTHING
    assert head.feed(GET[:-2]) is Head.OPEN
    assert head.feed(GET[-2:]) is Head.WHOLE


def test_what_comes_after_a_head_is_not_counted() -> None:
    head = RequestHead(limit=len(GET))
    assert head.feed(GET + b"x" * 100_000) is Head.WHOLE


def test_a_head_beyond_its_bound_is_too_large_whole_or_not() -> None:
    assert RequestHead(limit=len(GET) - 1).feed(GET) is Head.TOO_LARGE
    head = RequestHead(limit=100)
    assert head.feed(b"GET / HTTP/1.1\r\n" + b"a" * 50) is Head.OPEN
    assert head.feed(b"a" * 50) is Head.TOO_LARGE
    assert RequestHead(limit=100).feed(b"\r\n" * 51) is Head.TOO_LARGE


def door(total: int = 100, per_address: int | None = 2, *, loopback_too: bool = False) -> Doorkeeper:
    return Doorkeeper(total, per_address, loopback_too=loopback_too)


def test_one_address_has_so_many_places_and_others_have_theirs() -> None:
    keeper = door()
    first, second = keeper.admit("192.0.2.1"), keeper.admit("192.0.2.1")
    assert keeper.admit("192.0.2.1") is NoPlace.ADDRESS
    assert isinstance(keeper.admit("192.0.2.2"), Place)
    assert isinstance(first, Place)
    assert isinstance(second, Place)
    first.leave()
    first.leave()
    assert isinstance(keeper.admit("192.0.2.1"), Place)
    assert keeper.admit("192.0.2.1") is NoPlace.ADDRESS


def test_a_thousand_agents_behind_one_address_are_served_once_they_signed() -> None:
    keeper = door(total=2_000)
    for _ in range(1_000):
        place = keeper.admit("192.0.2.1")
        assert isinstance(place, Place)
        place.prove()
        place.prove()
    assert (keeper.connections, keeper.unproven) == (1_000, 0)
    assert isinstance(keeper.admit("192.0.2.1"), Place)


def test_proven_connections_count_towards_the_total_and_give_it_back() -> None:
    keeper = door(total=2)
    places = [keeper.admit("192.0.2.1"), keeper.admit("192.0.2.3")]
    assert keeper.admit("192.0.2.2") is NoPlace.ALL_TAKEN
    for place in places:
        assert isinstance(place, Place)
        place.prove()
        place.leave()
    assert (keeper.connections, keeper.unproven) == (0, 0)
    assert isinstance(keeper.admit("192.0.2.2"), Place)


def test_one_network_of_ipv6_is_one_address_and_a_mapped_one_is_its_ipv4() -> None:
    keeper = door(per_address=1)
    assert isinstance(keeper.admit("2001:db8::1"), Place)
    assert keeper.admit("2001:db8::ffff") is NoPlace.ADDRESS
    assert isinstance(keeper.admit("2001:db8:0:1::1"), Place)
    assert isinstance(keeper.admit("::ffff:192.0.2.1"), Place)
    assert keeper.admit("192.0.2.1") is NoPlace.ADDRESS
    assert isinstance(keeper.admit("fe80::1%eth0"), Place)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_counted_only_when_asked_for(address: str) -> None:
    free, bounded = door(per_address=1), door(per_address=1, loopback_too=True)
    assert all(isinstance(free.admit(address), Place) for _ in range(50))
    assert isinstance(bounded.admit(address), Place)
    assert bounded.admit(address) is NoPlace.ADDRESS


def test_behind_a_proxy_no_address_is_counted() -> None:
    keeper = door(per_address=None)
    assert all(isinstance(keeper.admit("192.0.2.1"), Place) for _ in range(90))


def test_the_limit_on_files_leaves_room_for_others() -> None:
    assert connections_for(20_000) == 20_000 - FILES_KEPT
    assert connections_for(256) == CONNECTIONS_MIN


def test_an_agent_may_burst_and_then_keep_its_rate() -> None:
    rates = AgentRates(rate=2.0, burst=3)
    for _ in range(3):
        assert rates.wait_s(ONE, 100.0) == 0
        rates.spend(ONE, 100.0)
    assert rates.wait_s(ONE, 100.0) == 1
    assert rates.wait_s(OTHER, 100.0) == 0
    assert rates.wait_s(ONE, 100.5) == 0
    rates.spend(ONE, 100.5)
    assert rates.wait_s(ONE, 100.5) == 1
    assert rates.wait_s(ONE, 200.0) == 0


def test_asking_without_a_valid_signature_uses_nothing_up() -> None:
    rates = AgentRates(rate=1.0, burst=2)
    for _ in range(1_000):
        assert rates.wait_s(ONE, 5.0) == 0
    assert len(rates) == 0


def test_agents_that_may_ask_again_are_forgotten_and_the_memory_is_bounded() -> None:
    rates = AgentRates(rate=1_000.0, burst=1, remembered_max=100)
    for number in range(10_001):
        rates.spend(UUID(int=number), number * 1.0)
        assert len(rates) <= 100
    assert len(rates) < 10


def test_a_slow_agents_wait_is_in_whole_seconds_and_never_zero() -> None:
    rates = AgentRates(rate=0.1, burst=1)
    rates.spend(ONE, 0.0)
    assert rates.wait_s(ONE, 0.0) == 10
    assert rates.wait_s(ONE, 9.99) == 1
    assert rates.wait_s(ONE, 10.0) == 0


def test_records_beyond_the_budget_are_counted() -> None:
    budget = LogBudget(rate=2.0, burst=3)
    assert [budget.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert budget.take(0.5)
    assert budget.dropped() == 2
    assert budget.dropped() == 0
    assert [budget.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_body_keeps_pace_or_its_time_is_over() -> None:
    assert time_for(0) == GRACE_S
    assert time_for(1024) == GRACE_S + 1
    assert time_for(2 * 1024 * 1024) == DEADLINE_S


async def test_each_piece_of_a_body_buys_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "GRACE_S", 0.0)
    monkeypatch.setattr(body, "PACE_BYTES_PER_S", 1.0)
    deadlines: list[float] = []

    class Deadline:
        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            return

        def reschedule(self, when: float) -> None:
            deadlines.append(when)

    class Content:
        async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
            for size in (2, 5, 100):
                yield bytes(size)

    def timeout_at(when: float) -> Deadline:
        deadlines.append(when)
        return Deadline()

    monkeypatch.setattr(asyncio, "timeout_at", timeout_at)
    request = SimpleNamespace(headers={}, body_exists=True, content_length=None, content=Content())
    assert len(await body.read_body(cast("web.Request", request), 1000)) == 107
    assert [round(one - deadlines[0]) for one in deadlines] == [0, 2, 7, DEADLINE_S]
