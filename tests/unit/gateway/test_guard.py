"""The watchdog of one connection, with a transport and a protocol that only remember."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from redflag_gateway.doorkeeper import Doorkeeper, Place
from redflag_gateway.guard import (
    CLOSE_S,
    FIRST_S,
    HEAD_S,
    IDLE_S,
    STALL_S,
    UNPROVEN_ANSWERS_MAX,
    Guard,
    Watchdog,
)

GET = b"GET / HTTP/1.1\r\n\r\n"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed


class Inner(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


@dataclass
class Connection:
    guard: Guard
    transport: Transport
    inner: Inner
    door: Doorkeeper
    watchdog: Watchdog
    ended: list[str] = field(default_factory=list)

    def after(self, seconds: float) -> None:
        self.watchdog.sweep(asyncio.get_running_loop().time() + seconds)


@pytest.fixture
def connect() -> Callable[[], Connection]:
    def make() -> Connection:
        ended: list[str] = []
        watchdog, door = Watchdog(ended.append), Doorkeeper(10, 5, loopback_too=True)
        place = door.admit("192.0.2.1")
        assert isinstance(place, Place)
        inner, transport = Inner(), Transport()
        guard = Guard(inner, place, watchdog)
        guard.connection_made(transport)
        return Connection(guard, transport, inner, door, watchdog, ended)

    return make


async def test_a_silent_connection_is_closed_without_a_word(connect: Callable[[], Connection]) -> None:
    one = connect()
    one.after(FIRST_S - 1)
    assert not one.transport.is_closing()
    one.after(FIRST_S + 1)
    assert one.transport.is_closing()
    assert (one.transport.written, one.ended) == (b"", ["silent"])


async def test_a_slow_head_is_answered_408_and_closed(connect: Callable[[], Connection]) -> None:
    one = connect()
    for byte in b"GET / HTTP/1.1\r\nA: b":
        one.guard.data_received(bytes([byte]))
    one.after(HEAD_S + 1)
    assert one.transport.written.startswith(b"HTTP/1.1 408 ")
    assert one.transport.is_closing()
    assert one.ended == ["slow_head"]
    one.after(HEAD_S + CLOSE_S + 1)
    assert one.transport.aborted


async def test_drops_do_not_lengthen_a_heads_time(connect: Callable[[], Connection]) -> None:
    one = connect()
    one.guard.data_received(b"G")
    deadline = one.watchdog._deadlines[one.guard]
    one.guard.data_received(b"ET")
    assert one.watchdog._deadlines[one.guard] == deadline


async def test_two_empty_lines_do_not_pass_for_a_head(connect: Callable[[], Connection]) -> None:
    one = connect()
    one.guard.data_received(b"\r\n\r\n")
    one.after(FIRST_S + 1)
    assert one.transport.is_closing()


async def test_a_head_the_parser_does_not_take_keeps_its_deadline(connect: Callable[[], Connection]) -> None:
    one = connect()
    one.guard.data_received(GET)
    one.after(HEAD_S + 1)
    assert one.transport.is_closing()


async def test_a_large_head_is_answered_431_before_the_parser_has_it(
    connect: Callable[[], Connection],
) -> None:
    one = connect()
    one.guard.data_received(b"GET / HTTP/1.1\r\n" + b"a" * 20_000)
    assert one.transport.written.startswith(b"HTTP/1.1 431 ")
    assert one.transport.is_closing()
    assert one.inner.got == b""
    one.guard.data_received(GET)
    assert one.transport.written.count(b"HTTP/1.1") == 1


async def test_a_request_in_hand_has_no_deadline_here_and_the_next_one_has(
    connect: Callable[[], Connection],
) -> None:
    one = connect()
    one.guard.data_received(GET)
    one.guard.begin()
    one.guard.data_received(b"x" * 100_000)  # a body is the body reader's business
    one.after(1_000)
    assert not one.transport.is_closing()
    assert not one.guard.end(close=False)
    one.guard.data_received(b"GE")
    one.after(HEAD_S + 1)
    assert one.transport.written.startswith(b"HTTP/1.1 408 ")


async def test_a_peer_that_does_not_take_its_answer_is_cut_off(connect: Callable[[], Connection]) -> None:
    one = connect()
    one.guard.data_received(GET)
    one.guard.begin()
    one.guard.pause_writing()
    one.after(STALL_S - 1)
    assert not one.transport.is_closing()
    one.guard.resume_writing()
    one.after(STALL_S + 1)
    assert not one.transport.is_closing()
    one.guard.pause_writing()
    one.after(STALL_S + 1)
    assert one.transport.aborted
    assert one.ended == ["slow_reader"]


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize(("close", "seconds"), [(True, STALL_S), (False, IDLE_S)])
async def test_a_closed_connection_whose_answer_nobody_takes_is_cut_off(
    connect: Callable[[], Connection], close: bool, seconds: float, paused: bool
) -> None:
    one = connect()
    one.guard.data_received(GET)
    one.guard.begin()
    one.guard.end(close=close)
    if paused:
        one.guard.pause_writing()
        one.guard.resume_writing()  # below the mark, and yet not all of it taken
    one.transport.close()  # as aiohttp does after the answer, or when it has idled
    one.after(seconds - 1)
    assert one.ended == []
    one.after(seconds + 1)
    assert one.transport.aborted
    assert one.ended == ["not_closed"]


async def test_without_a_signature_a_connection_has_so_many_answers(
    connect: Callable[[], Connection],
) -> None:
    one, signed = connect(), connect()
    signed.guard.place.prove()
    for guard in (one.guard, signed.guard):
        ends = []
        for _ in range(UNPROVEN_ANSWERS_MAX):
            guard.begin()
            ends.append(guard.end(close=False))
        assert ends[:-1] == [False] * (UNPROVEN_ANSWERS_MAX - 1)
        assert ends[-1] is (guard is one.guard)


async def test_the_place_is_given_back(connect: Callable[[], Connection]) -> None:
    one = connect()
    one.guard.connection_lost(None)
    assert one.door.connections == 0
    one.after(1_000)
    assert one.ended == []
