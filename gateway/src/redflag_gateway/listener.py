"""Taking connections: bounded before anything is spent on them, TLS included.

Guarantees: a connection gets its place (`doorkeeper`) before its handshake; no room for another open file stops the
listening for a moment instead of the program, and is one log record a minute; a failed handshake is counted, never
logged with what the peer sent.
"""

import asyncio
import contextlib
import errno
import resource
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Final

from redflag_gateway.doorkeeper import Doorkeeper, NoPlace, Place
from redflag_gateway.guard import Guard, Watchdog
from redflag_ops.logging import get_logger
from redflag_ops.tls import HANDSHAKE_S, SHUTDOWN_S

BACKLOG: Final = 1024
ACCEPTS_AT_ONCE: Final = 64  # then the others on this loop have their turn
NO_ROOM_PAUSE_S: Final = 0.5
NO_ROOM_LOG_EVERY_S: Final = 60.0
FILES_KEPT: Final = 512  # open files that are not agents' connections: broker, logs, certificates, probes
CONNECTIONS_MIN: Final = 64  # however low the limit is
TLS_BUFFER_BYTES: Final = 16 * 1024  # one record; asyncio's own 256 KiB would be held by each idle connection

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

Inner = Callable[[], asyncio.Protocol]
Refused = Callable[[str], None]


def raise_file_limit() -> int:
    """Raise the limit on open files as far as it may be, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft


def connections_for(file_limit: int) -> int:
    """Return how many connections a limit on open files leaves room for."""
    return max(CONNECTIONS_MIN, file_limit - FILES_KEPT)


class Listener:
    """Listens, and hands each connection to a protocol of its own.

    Args:
        inner: makes aiohttp's protocol for a connection.
        doorkeeper: gives places.
        watchdog: holds deadlines.
        tls: what is served; None for plain http.
        refused: counts connections that got no place or no handshake.
    """

    def __init__(
        self,
        inner: Inner,
        doorkeeper: Doorkeeper,
        watchdog: Watchdog,
        *,
        tls: ssl.SSLContext | None,
        refused: Refused,
    ) -> None:
        self._inner = inner
        self._doorkeeper = doorkeeper
        self._watchdog = watchdog
        self._tls = tls
        self._refused = refused
        self._sockets: list[socket.socket] = []
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._beginning: set[asyncio.Task[None]] = set()
        self._logged: float | None = None
        self._log = get_logger()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen on every address of a host; return the first.

        Raises:
            OSError: an address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        if self._tls is not None:
            # A class attribute is the only way asyncio leaves; this program's own connections with TLS are all here.
            sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((one[0], one[4]) for one in found):
                self._sockets.append(_bind(family, address, any_family=host == "::"))
        except OSError:
            self.close()
            raise
        for one in self._sockets:
            loop.add_reader(one, self._accept, one)
        name = self._sockets[0].getsockname()
        return str(name[0]), int(name[1])

    def close(self) -> None:
        """Take no more connections; those that stand are not touched."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            loop.remove_reader(one)
            pause = self._paused.pop(one, None)
            if pause is not None:
                pause.cancel()
            one.close()
        self._sockets.clear()
        for task in self._beginning:
            task.cancel()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._no_room(listening, error)
                return
            connection.setblocking(False)
            place = self._doorkeeper.admit(str(address[0]))
            if isinstance(place, NoPlace):
                self._turn_away(connection, place)
                continue
            task = asyncio.get_running_loop().create_task(self._begin(connection, place))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket, place: Place) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: Guard(self._inner(), place, self._watchdog),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_S,
                ssl_shutdown_timeout=None if self._tls is None else SHUTDOWN_S,
            )
        except (OSError, TimeoutError):
            self._refused("handshake")
            place.leave()
            connection.close()
        except BaseException:
            place.leave()
            connection.close()
            raise

    def _turn_away(self, connection: socket.socket, why: NoPlace) -> None:
        self._refused(why.value)
        if self._tls is None:
            with contextlib.suppress(OSError):
                connection.send(_BUSY)
        connection.close()

    def _no_room(self, listening: socket.socket, error: OSError) -> None:
        self._refused("no_open_files" if error.errno in _NO_ROOM else "accept_failed")
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._logged is None or now - self._logged >= NO_ROOM_LOG_EVERY_S:
            self._logged = now
            self._log.error(
                "listener.accept_failed", reason=error.strerror, connections=self._doorkeeper.connections
            )
        loop.remove_reader(listening)
        self._paused[listening] = loop.call_later(NO_ROOM_PAUSE_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        self._paused.pop(listening, None)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)


def _bind(family: int, address: object, *, any_family: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` alone means every address of either kind; a named address means itself.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not any_family)
        made.bind(address)  # type: ignore[arg-type]
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
