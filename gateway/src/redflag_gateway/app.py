"""The gateway put together: its parts, their background loops, and the order they start and stop in.

Stop: parked polls are answered at once, new requests are answered 503, those in hand end within a bound, then no
connection is taken any more, what was delivered is told, and the connection to the broker is closed.
"""

import asyncio
from collections.abc import Coroutine, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry

from redflag_broker_config.connect import read_seed
from redflag_broker_config.errors import CredentialsError
from redflag_broker_config.subjects import KV_BEACON, KV_KEYS, KV_STATUS
from redflag_gateway.agent_plane import CHALLENGE_S, AgentPlane, Route
from redflag_gateway.agent_rate import AgentRates
from redflag_gateway.auth import Authenticator
from redflag_gateway.beacon import Beacon
from redflag_gateway.broker import Broker
from redflag_gateway.bucket_watch import BucketWatch
from redflag_gateway.command_queue import CommandQueue
from redflag_gateway.confirmed import Confirmed
from redflag_gateway.doorkeeper import UNPROVEN_PER_ADDRESS, Doorkeeper
from redflag_gateway.edge import Edge
from redflag_gateway.events import Events
from redflag_gateway.guard import Watchdog
from redflag_gateway.handles import Handles
from redflag_gateway.hearing import Hearing
from redflag_gateway.http_log import http_logger
from redflag_gateway.http_protocol import HttpProtocol
from redflag_gateway.keys import Keys
from redflag_gateway.listener import Listener, connections_for, raise_file_limit
from redflag_gateway.metrics import Metrics
from redflag_gateway.nonces import SeenNonces, ServerNonces
from redflag_gateway.outgoing import DeliveredLog, Presence
from redflag_gateway.parked import ParkedPolls
from redflag_gateway.pending import PendingSet
from redflag_gateway.polls import Polls
from redflag_gateway.reports import Reports
from redflag_gateway.services import Services
from redflag_gateway.settings import Settings
from redflag_gateway.shared_key import SharedKey, Use
from redflag_gateway.status import ShutOut
from redflag_gateway.telling import Telling
from redflag_gateway.tokens import Tokens
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger
from redflag_ops.settings import parse_listen, read_secret
from redflag_ops.tls import check_listener, tls_of
from redflag_wire.clock import Clock

DRAIN_S = 2.5  # for requests in hand
SHUTDOWN_GRACE_S = 0.25  # for connections after that
KEEPALIVE_S = 75.0  # an idle connection is closed after this
HEADER_LINE_MAX_BYTES = 8190
HEADERS_MAX = 64
BODY_MAX_BYTES = 2 * 1024 * 1024 + 1  # aiohttp's own bound; each call has its own below it


class Gateway:
    """One gateway process without its ops listener.

    Args:
        settings: what it was told.
        registry: where metrics are registered.
        clock: the time.

    Raises:
        ConfigurationError: a file a setting names is not usable.
    """

    def __init__(self, settings: Settings, registry: CollectorRegistry, clock: Clock) -> None:
        self._settings = settings
        try:
            read_seed(settings.gateway_nats_seed_file)
        except CredentialsError as error:
            raise ConfigurationError(f"REDFLAG_GATEWAY_NATS_SEED_FILE: {error}") from None
        host, _port = parse_listen(settings.gateway_listen)
        self.tls = tls_of(
            settings.gateway_tls_cert, settings.gateway_tls_key, setting="REDFLAG_GATEWAY_TLS", now=clock.now
        )
        check_listener(host, self.tls, behind_proxy=settings.gateway_behind_proxy, setting="REDFLAG_GATEWAY")
        if self.tls is not None:
            self.tls.watch_metrics(registry, "gateway")
        key = SharedKey.from_hex(read_secret(settings.gateway_hmac_file, "REDFLAG_GATEWAY_HMAC_FILE"))
        metrics = Metrics(registry)
        self.broker = Broker(settings.nats_url, settings.gateway_nats_seed_file, metrics)
        self.events = Events(self.broker, settings.gateway_origin, clock, metrics)
        self.parked, self.pending = ParkedPolls(), PendingSet()
        presence, delivered = Presence(), DeliveredLog()
        confirmed, beacon, shut_out = Confirmed(), Beacon(), ShutOut()
        self.keys = Keys(bytes.fromhex(settings.root_fingerprint), settings.fleet)
        tokens = Tokens(settings.fleet, self.keys.access_keys)
        self.keys.on_change(tokens.clear)
        self._status_watch = BucketWatch(self.broker, KV_STATUS, shut_out.note)
        self._beacon_watch = BucketWatch(self.broker, KV_BEACON, beacon.note)
        self._keys_watch = BucketWatch(self.broker, KV_KEYS, self.keys.note)
        nonces, seen = ServerNonces(key), SeenNonces()
        rates = AgentRates(settings.gateway_agent_rate, settings.gateway_agent_burst)
        authenticator = Authenticator(nonces, seen, tokens, shut_out)
        self._polls = Polls(
            broker=self.broker,
            queue=CommandQueue(self.broker, metrics),
            pending=self.pending,
            parked=self.parked,
            handles=Handles(key),
            delivered=delivered,
            clock=clock,
            metrics=metrics,
        )
        Hearing(self.broker, self._polls.wake, confirmed, metrics)
        self._telling = Telling(self.broker, delivered, presence, metrics)
        self._plane = AgentPlane(
            keys=self.keys,
            beacon=beacon,
            confirmed=confirmed,
            polls=self._polls,
            reports=Reports(self.broker, metrics),
            services=Services(self.broker),
            challenges=ServerNonces(key, Use.CHALLENGE, CHALLENGE_S),
            authenticator=authenticator,
            clock=clock,
            next_poll_s=settings.gateway_next_poll_s,
        )
        self._edge = Edge(
            origin=settings.gateway_origin,
            authenticator=authenticator,
            nonces=nonces,
            presence=presence,
            rates=rates,
            clock=clock,
            metrics=metrics,
            behind_proxy=settings.gateway_behind_proxy,
        )
        self._metrics = metrics
        self._watchdog = Watchdog(lambda reason: metrics.connections_ended.labels(reason).inc())
        self.doorkeeper = doorkeeper_of(settings)
        self._listener: Listener | None = None
        self._log = get_logger()
        metrics.watch_size("connections", "Connections that stand", lambda: self.doorkeeper.connections)
        metrics.watch_size(
            "unproven_connections",
            "Connections without a valid signature yet",
            lambda: self.doorkeeper.unproven,
        )
        metrics.watch_size("counted_agents", "Agents whose requests are being counted", rates.__len__)
        metrics.watch_size("parked_polls", "Polls that wait", self.parked.__len__)
        metrics.watch_size("pending_agents", "Agents with something pending", self.pending.__len__)
        metrics.watch_size("shut_out_agents", "Agents that are shut out", shut_out.__len__)
        metrics.watch_size("cached_tokens", "Access tokens known by digest", tokens.__len__)
        metrics.watch_size("seen_nonces", "Signature nonces remembered", seen.__len__)
        metrics.watch_size("confirmed_agents", "Agents whose confirmed report is known", confirmed.__len__)
        metrics.watch_size("untold_deliveries", "Deliveries that wait to be told", delivered.__len__)

    def routes(self) -> tuple[Route, ...]:
        """Return all calls of the agent plane."""
        return self._plane.routes()

    async def readiness(self) -> Mapping[str, str | None]:
        """Say what is missing before agents can be served."""
        return {
            "broker": await self.broker.fault(),
            "manifest": None if self.keys.version else "no verified key manifest yet",
            "status": None if self._status_watch.loaded else "the list of shut-out agents is not loaded yet",
        }

    async def start(self) -> tuple[web.AppRunner, str]:
        """Start listening for agents; return the runner and the address as a URL.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        self._edge.add_routes(app, self._plane.routes())
        runner = web.AppRunner(
            app,
            handler_cancellation=True,  # a poll whose client is gone must not take commands
            shutdown_timeout=SHUTDOWN_GRACE_S,
        )
        await runner.setup()
        server = runner.server
        assert server is not None  # noqa: S101 - `setup` made it
        log, loop = http_logger(self._metrics.refusals.labels("not_http").inc), asyncio.get_running_loop()

        def protocol() -> HttpProtocol:
            return HttpProtocol(
                server,
                loop=loop,
                access_log=None,  # type: ignore[arg-type] # means none; the edge writes the records
                logger=log,
                auto_decompress=False,
                keepalive_timeout=KEEPALIVE_S,
                max_line_size=HEADER_LINE_MAX_BYTES,
                max_field_size=HEADER_LINE_MAX_BYTES,
                max_headers=HEADERS_MAX,
            )

        self._listener = Listener(
            protocol,
            self.doorkeeper,
            self._watchdog,
            tls=None if self.tls is None else self.tls.context,
            refused=lambda reason: self._metrics.connections_refused.labels(reason).inc(),
        )
        try:
            host, port = await self._listener.start(*parse_listen(self._settings.gateway_listen))
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(f"REDFLAG_GATEWAY_LISTEN: {error.strerror or error}") from None
        shown = f"[{host}]" if ":" in host else host
        return runner, f"{'http' if self.tls is None else 'https'}://{shown}:{port}"

    def loops(self, stop: asyncio.Event) -> dict[str, Coroutine[object, object, None]]:
        """Return the background loops; each ends when ``stop`` is set."""
        watch = {} if self.tls is None else {"certificate": self.tls.watch(stop)}
        return {
            **watch,
            "watchdog": self._watchdog.run(stop),
            "broker": self.broker.run(stop),
            "status": self._status_watch.run(stop),
            "beacon": self._beacon_watch.run(stop),
            "keys": self._keys_watch.run(stop),
            "refill": self._polls.refill(stop),
            "deliveries": self._telling.tell_deliveries(stop),
            "presence": self._telling.tell_presence(stop),
            "events": self.events.run(stop),
        }

    async def stop(self, runner: web.AppRunner) -> None:
        """Answer parked polls, end requests under way, close the connection to the broker."""
        self.parked.stop()
        left = await self._edge.drain(DRAIN_S)
        if left:
            self._log.warning("gateway.requests_cut_off", count=left)
        if self._listener is not None:
            self._listener.close()
        await runner.cleanup()
        await self._telling.tell_last()
        await self.events.tell()
        await self.broker.close()


def doorkeeper_of(settings: Settings) -> Doorkeeper:
    """Return who gives places, by the settings and this process's limit on open files, which is raised."""
    room = connections_for(raise_file_limit())
    asked = settings.gateway_unproven_per_address
    # Behind a proxy all connections come from the proxy's address, and bounding them is the proxy's business.
    per_address = None if settings.gateway_behind_proxy else (asked or UNPROVEN_PER_ADDRESS)
    return Doorkeeper(
        min(settings.gateway_connections_max or room, room), per_address, loopback_too=asked is not None
    )
