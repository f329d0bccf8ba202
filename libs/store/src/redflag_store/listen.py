"""Wait for notices from PostgreSQL without ever depending on one.

Guarantees:

- `Listener.wait` returns at the latest after the poll interval, so a lost notice costs that interval and no
  more; the caller looks at the tables whenever it returns.
- After a (re)connection, and after notices had to be dropped because the caller was slow, the next `Wake` says
  so (`lost`): whoever passes notices on must then tell its readers to look afresh.
- A connection that no longer answers is noticed by a check every `CHECK_S` seconds and replaced, with full
  jitter between tries; the error is reported, not swallowed.
- At most `MAX_NOTICES` wait unread.
"""

import asyncio
import contextlib
import random as _random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError

from redflag_store.engine import CONNECT_TIMEOUT_S, driver_dsn, server_settings

MAX_NOTICES: Final = 10_000
CHECK_S: Final = 15.0  # how often a quiet connection is asked whether it lives
CHECK_TIMEOUT_S: Final = 5.0
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0

_CONNECTION_ERRORS: Final = (OSError, TimeoutError, PostgresError, InterfaceError)


@dataclass(frozen=True, slots=True)
class Notice:
    """One NOTIFY."""

    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Why `wait` returned: notices, or none of them after a poll interval.

    `lost` means that others may have been missed since the last one.
    """

    notices: tuple[Notice, ...] = ()
    lost: bool = False


class Listener:
    """LISTEN on some channels over a connection of its own; use it as an async context manager."""

    def __init__(
        self,
        url: str,
        channels: Sequence[str],
        *,
        poll_s: float,
        application_name: str = "redflag-listen",
        on_error: Callable[[Exception], None] | None = None,
        jitter: Callable[[], float] = _random.random,
    ) -> None:
        """Prepare; nothing is connected before the context is entered.

        Args:
            url: postgresql://..., of any role that may connect.
            channels: names to listen to.
            poll_s: the longest `wait` takes, in seconds.
            application_name: as shown by the server.
            on_error: told of every failed or lost connection, for a log line and a counter.
            jitter: 0 to 1, spreads the tries to reconnect.
        """
        self._url = driver_dsn(url)
        self._channels = tuple(channels)
        self._poll_s = poll_s
        self._application_name = application_name
        self._on_error = on_error
        self._jitter = jitter
        self._notices: deque[Notice] = deque(maxlen=MAX_NOTICES)
        self._lost = False
        self._connected = asyncio.Event()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether notices can arrive right now."""
        return self._connected.is_set()

    async def wait_connected(self, timeout_s: float) -> None:
        """Return once listening.

        Raises:
            TimeoutError: not within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            await self._connected.wait()

    async def wait(self) -> Wake:
        """The notices that came, at once when there are any, else after at most the poll interval."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._ready.wait()
        self._ready.clear()
        wake = Wake(tuple(self._notices), self._lost)
        self._notices.clear()
        self._lost = False
        return wake

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"listen {','.join(self._channels)}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        tries = 0
        while True:
            try:
                await self._listen()
            except _CONNECTION_ERRORS as error:
                # A connection that had worked starts the waiting times afresh.
                tries = 0 if self._connected.is_set() else tries
                self._connected.clear()
                if self._on_error is not None:
                    self._on_error(error)
            most = min(RETRY_MOST_S, RETRY_FIRST_S * 2**tries)
            tries = min(tries + 1, 16)
            await asyncio.sleep(most * self._jitter())

    async def _listen(self) -> None:
        """Listen until the connection fails; always ends with an exception."""
        connection = await asyncpg.connect(  # type: ignore[no-untyped-call]  # asyncpg ships no types
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=CHECK_TIMEOUT_S,
            server_settings=server_settings(self._application_name),
        )
        gone = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: gone.set())
            for channel in self._channels:
                await connection.add_listener(channel, self._take)
            self._lost = True
            self._connected.set()
            self._ready.set()
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S):
                        await gone.wait()
                await connection.execute("SELECT 1")
        finally:
            with contextlib.suppress(*_CONNECTION_ERRORS):
                # It may be dead already; what counts was reported by the error that led here.
                await connection.close(timeout=CLOSE_TIMEOUT_S)

    def _take(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:  # noqa: ANN401  # asyncpg's
        if len(self._notices) == MAX_NOTICES:
            self._lost = True
        self._notices.append(Notice(channel, payload))
        self._ready.set()
