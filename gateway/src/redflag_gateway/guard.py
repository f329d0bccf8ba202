"""A watchdog between each connection and aiohttp's protocol, which has no deadline for heads and for slow readers.

Guarantees: a connection that sends nothing is closed after ``FIRST_S``, one whose request head is not complete
``HEAD_S`` after its first byte is answered 408 and closed, a head beyond its bound is answered 431 before the parser
has it all, and a peer that does not take its answer loses the connection after ``STALL_S``. Deadlines of bodies stand
in `body`, that of idle connections is aiohttp's own; ``IDLE_S`` ends those that are closed and never gone, because the
rest of an answer waits for a peer that takes nothing. A peer that does not close its side is cut off.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from redflag_gateway.doorkeeper import Place
from redflag_gateway.request_head import Head, RequestHead

FIRST_S: Final = 10.0  # to the first byte of the first request
HEAD_S: Final = 10.0  # for a request's head
STALL_S: Final = 30.0  # for a peer to take what was written
IDLE_S: Final = 120.0  # between two requests; longer than aiohttp lets a connection idle
CLOSE_S: Final = 5.0  # for a connection that was closed to be gone
SWEEP_EVERY_S: Final = 0.5
UNPROVEN_ANSWERS_MAX: Final = 16  # on a connection without a valid signature; then it is closed

_HEAD_END: Final = b"Content-Length: 0\r\nConnection: close\r\nServer: redflag\r\n\r\n"
_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\n" + _HEAD_END
_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + _HEAD_END

Ended = Callable[[str], None]
"""Told why a connection was ended."""


class Watchdog:
    """Deadlines of many connections, looked at together.

    Args:
        ended: counts the reasons.
    """

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._deadlines: dict[Guard, float] = {}

    def arm(self, guard: "Guard", seconds: float) -> None:
        """Give a connection so much time from now."""
        self._deadlines[guard] = asyncio.get_running_loop().time() + seconds

    def disarm(self, guard: "Guard") -> None:
        """Take the deadline away."""
        self._deadlines.pop(guard, None)

    def note(self, reason: str) -> None:
        """Count an end."""
        self._ended(reason)

    async def run(self, stop: asyncio.Event) -> None:
        """End connections whose time is over, until ``stop`` is set."""
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), SWEEP_EVERY_S)
            except TimeoutError:
                self.sweep(asyncio.get_running_loop().time())

    def sweep(self, now: float) -> None:
        """End those whose time is over."""
        for guard in [guard for guard, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[guard]
            guard.time_is_over()


class Guard(asyncio.Protocol):
    """Stands before one connection's protocol and passes everything on.

    Args:
        inner: aiohttp's protocol.
        place: of this connection.
        watchdog: holds the deadline.
    """

    __slots__ = (
        "_closing",
        "_head",
        "_in_hand",
        "_inner",
        "_stalled",
        "_transport",
        "_unproven",
        "_watchdog",
        "place",
    )

    def __init__(self, inner: asyncio.Protocol, place: Place, watchdog: Watchdog) -> None:
        self._inner = inner
        self.place = place
        self._watchdog = watchdog
        self._transport: asyncio.Transport | None = None
        self._head = RequestHead()
        self._in_hand = False
        self._closing = False
        self._stalled = False
        self._unproven = 0

    # What the edge tells of each request.

    def begin(self) -> None:
        """A request is in hand; its own deadlines count from here."""
        self._in_hand = True
        self._watchdog.disarm(self)

    def end(self, *, close: bool) -> bool:
        """The request's answer is made; return whether the connection must be closed after it.

        Args:
            close: whether it is to be closed anyway, for example because the body was not read.
        """
        self._in_hand = False
        self._head = RequestHead()
        if not self.place.proven:
            self._unproven += 1
            close = close or self._unproven >= UNPROVEN_ANSWERS_MAX
        self._closing = close
        self._rest()
        return close

    def _rest(self) -> None:
        self._watchdog.arm(self, STALL_S if self._closing else IDLE_S)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listener makes no others
        self._transport = transport
        self._watchdog.arm(self, FIRST_S)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if not self._in_hand and not self._closing:
            before = self._head.state
            after = self._head.feed(data)
            if before is Head.NOTHING and after is not Head.NOTHING:
                # Whole heads keep the deadline until the request is in hand: the parser has the last word on them.
                self._watchdog.arm(self, HEAD_S)
            if after is Head.TOO_LARGE:
                self._refuse("large_head", _LARGE)
                return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:  # noqa: D102
        return self._inner.eof_received()

    def pause_writing(self) -> None:  # noqa: D102
        self._stalled = True
        self._watchdog.arm(self, STALL_S)
        self._inner.pause_writing()

    def resume_writing(self) -> None:  # noqa: D102
        self._stalled = False
        if self._in_hand:
            self._watchdog.disarm(self)
        elif self._transport is not None and not self._transport.is_closing():
            self._rest()
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._watchdog.disarm(self)
        self.place.leave()
        self._inner.connection_lost(exc)
        self._transport = None

    def time_is_over(self) -> None:
        """The deadline has come."""
        transport = self._transport
        if transport is None:
            return
        if transport.is_closing():
            self._watchdog.note("not_closed")
            transport.abort()
        elif self._stalled:
            self._watchdog.note("slow_reader")
            transport.abort()
        elif self._head.state is Head.NOTHING:
            self._refuse("silent", b"")
        else:
            self._refuse("slow_head", _SLOW)

    def _refuse(self, reason: str, answer: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        self._watchdog.note(reason)
        self._closing = True
        if answer:
            transport.write(answer)
        transport.close()
        self._watchdog.arm(self, CLOSE_S)
