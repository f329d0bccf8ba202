"""The gateway's one connection to the broker.

Guarantees: the gateway starts and serves while the broker is away, and finds it again by itself; every request has a
deadline; only so many requests are under way at a time and only so many wait for their turn (JetStream drops what
exceeds 10,000); every failure is one of the `BrokerError` family, and refused permissions are logged by name.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from redflag_broker_config.connect import connect
from redflag_broker_config.errors import BrokerUnreachableError
from redflag_broker_config.permissions import Service
from redflag_gateway.errors import (
    BrokerAwayError,
    BrokerTimeoutError,
    BusyError,
    NobodyAnswersError,
    NotStoredError,
)
from redflag_gateway.metrics import Metrics
from redflag_ops.logging import get_logger

REQUEST_DEADLINE_S = 5.0
UNDER_WAY_MAX = 512  # requests to the broker at a time
WAITING_MAX = 5_000  # requests that wait for their turn; more are refused
BUSY_RETRY_S = 5
FIRST_CONNECT_RETRY_S = 1.0  # between attempts while no connection ever stood
CLOSE_DEADLINE_S = 2.0
PROBE_DEADLINE_S = 2  # what the broker gets to answer a readiness probe

Handler = Callable[[Msg], Awaitable[None]]
Notice = Callable[[], None]


class Broker:
    """Connects, keeps connected, and passes requests on within bounds.

    Args:
        url: the broker's address or addresses.
        seed_path: file with the gateway's NKey seed.
        metrics: where to count.
    """

    def __init__(self, url: str, seed_path: Path, metrics: Metrics) -> None:
        self._url = url
        self._seed_path = seed_path
        self._metrics = metrics
        self._client: Client | None = None
        self._closed = asyncio.Event()
        self._stopping = False
        self._slots = asyncio.Semaphore(UNDER_WAY_MAX)
        self._waiting = 0
        self._handlers: list[tuple[str, Handler]] = []
        self._on_up: list[Notice] = []
        self._on_down: list[Notice] = []
        self._log = get_logger()

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._client is not None and bool(self._client.is_connected)

    async def fault(self) -> str | None:
        """Say what is wrong with the broker, None when it answers: one that hangs keeps its connections."""
        client = self._client
        if client is None or not client.is_connected:
            return "not connected"
        try:
            await client.flush(PROBE_DEADLINE_S)
        except (OSError, TimeoutError, nats.errors.Error):
            return f"no answer within {PROBE_DEADLINE_S} s"
        return None

    def listen(self, subject: str, handler: Handler) -> None:
        """Have a handler called for each message on a subject; call before `run`."""
        self._handlers.append((subject, handler))

    def on_up(self, notice: Notice) -> None:
        """Have something called whenever the connection stands (again)."""
        self._on_up.append(notice)

    def on_down(self, notice: Notice) -> None:
        """Have something called whenever the connection is lost."""
        self._on_down.append(notice)

    async def run(self, stop: asyncio.Event) -> None:
        """Connect and stay connected until ``stop`` is set.

        Raises:
            CredentialsError: the seed file is not usable.
            BrokerAwayError: the client gave the connection up for good; the program is to start again.
        """
        client = await self._connect_first(stop)
        if client is None:
            return
        stopped = asyncio.create_task(stop.wait())
        closed = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait({stopped, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                raise BrokerAwayError("the connection was closed for good")
        finally:
            stopped.cancel()
            closed.cancel()

    async def close(self) -> None:
        """Send what is buffered and close the connection."""
        self._stopping = True
        client, self._client = self._client, None
        self._metrics.broker_connected.set(0)
        if client is None:
            return
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                if client.is_connected:
                    await client.flush()
                await client.close()
        except (TimeoutError, nats.errors.Error, OSError) as error:
            self._log.warning("broker.close_failed", reason=str(error))

    async def _connect_first(self, stop: asyncio.Event) -> Client | None:
        while not stop.is_set():
            try:
                client = await connect(
                    self._url,
                    self._seed_path,
                    Service.GATEWAY,
                    "redflag-gateway",
                    on_error=self._on_error,
                    on_disconnected=self._on_disconnected,
                    on_reconnected=self._on_reconnected,
                    on_closed=self._on_closed,
                )
            except BrokerUnreachableError as error:
                self._log.warning("broker.unreachable", reason=error.reason)
                try:
                    await asyncio.wait_for(stop.wait(), FIRST_CONNECT_RETRY_S)
                except TimeoutError:
                    continue
                return None
            for subject, handler in self._handlers:
                await client.subscribe(subject, cb=handler)
            self._client = client
            self._log.info("broker.connected")
            self._tell_up()
            return client
        return None

    def _tell_up(self) -> None:
        self._metrics.broker_connected.set(1)
        for notice in self._on_up:
            notice()

    async def _on_error(self, error: Exception) -> None:
        self._log.warning("broker.error", reason=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        self._metrics.broker_connected.set(0)
        if not self._stopping:
            self._log.warning("broker.disconnected")
        for notice in self._on_down:
            notice()

    async def _on_reconnected(self) -> None:
        self._log.info("broker.reconnected")
        self._tell_up()

    async def _on_closed(self) -> None:
        if not self._stopping and self._client is not None:
            self._closed.set()

    def require(self) -> Client:
        """Return the client.

        Raises:
            BrokerAwayError: there is no connection now.
        """
        client = self._client
        if client is None or not client.is_connected:
            raise BrokerAwayError("no connection")
        return client

    def new_inbox(self) -> str:
        """Return a subject of this connection's own for answers.

        Raises:
            BrokerAwayError: there is no connection now.
        """
        return str(self.require().new_inbox())

    @asynccontextmanager
    async def slot(self, operation: str) -> AsyncIterator[None]:
        """Hold one of the places for requests under way.

        Raises:
            BusyError: too many wait already.
        """
        if self._waiting >= WAITING_MAX:
            raise BusyError(BUSY_RETRY_S)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            with self._metrics.broker_seconds.labels(operation).time():
                yield
        finally:
            self._slots.release()

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Publish without an answer.

        Raises:
            BrokerAwayError: there is no connection, or its buffer is full.
        """
        try:
            await self.require().publish(subject, payload, reply=reply)
        except (nats.errors.Error, OSError) as error:
            raise BrokerAwayError(str(error)) from error

    async def request(
        self,
        operation: str,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        deadline_s: float = REQUEST_DEADLINE_S,
    ) -> Msg:
        """Ask and wait for the answer.

        Args:
            operation: label of the measurement.
            subject: where to ask.
            payload: what to ask.
            headers: of the message.
            deadline_s: seconds to wait, the turn not counted.

        Raises:
            BrokerAwayError: there is no connection.
            NobodyAnswersError: nobody listens there.
            BrokerTimeoutError: no answer in time.
            BusyError: too many wait already.
        """
        async with self.slot(operation):
            client = self.require()
            try:
                return await client.request(subject, payload, timeout=deadline_s, headers=headers)
            except nats.errors.NoRespondersError as error:
                raise NobodyAnswersError(operation) from error
            except TimeoutError as error:
                raise BrokerTimeoutError(operation) from error
            except (nats.errors.Error, OSError) as error:
                raise BrokerAwayError(str(error)) from error

    async def store(self, operation: str, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """Publish into a stream and wait until the broker has stored it.

        Raises:
            NotStoredError: the stream refused it.
            BrokerError: as for `request`.
            BusyError: too many wait already.
        """
        answer = await self.request(operation, subject, payload, headers)
        stored = json.loads(answer.data)
        fault = stored.get("error")
        if fault is not None:
            raise NotStoredError(int(fault.get("err_code", 0)), str(fault.get("description", "")))
