"""The gateway put together: its parts, their background loops, and the order they start and stop in.

Stop: parked polls are answered at once, no new connection is taken, requests under way end, what was delivered is
told, then the connection to the broker is closed.
"""

import asyncio
from collections.abc import Coroutine, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry

from redflag_broker_config.connect import read_seed
from redflag_broker_config.errors import CredentialsError
from redflag_broker_config.subjects import KV_BEACON, KV_KEYS, KV_STATUS
from redflag_gateway.agent_plane import CHALLENGE_S, AgentPlane, Route
from redflag_gateway.auth import Authenticator
from redflag_gateway.beacon import Beacon
from redflag_gateway.broker import Broker
from redflag_gateway.bucket_watch import BucketWatch
from redflag_gateway.command_queue import CommandQueue
from redflag_gateway.confirmed import Confirmed
from redflag_gateway.edge import Edge
from redflag_gateway.handles import Handles
from redflag_gateway.hearing import Hearing
from redflag_gateway.keys import Keys
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
from redflag_ops.settings import parse_listen, read_secret
from redflag_ops.tls import check_listener, tls_of
from redflag_wire.clock import Clock

SHUTDOWN_GRACE_S = 2.0  # for requests under way
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
            clock=clock,
            metrics=metrics,
        )
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
            access_log=None,
            handler_cancellation=True,  # a poll whose client is gone must not take commands
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=HEADER_LINE_MAX_BYTES,
            max_field_size=HEADER_LINE_MAX_BYTES,
            max_headers=HEADERS_MAX,
            shutdown_timeout=SHUTDOWN_GRACE_S,
        )
        await runner.setup()
        host, port = parse_listen(self._settings.gateway_listen)
        try:
            await web.TCPSite(
                runner, host, port, backlog=1024, ssl_context=None if self.tls is None else self.tls.context
            ).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(f"REDFLAG_GATEWAY_LISTEN: {error.strerror or error}") from None
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return runner, f"{'http' if self.tls is None else 'https'}://{shown}:{bound[1]}"

    def loops(self, stop: asyncio.Event) -> dict[str, Coroutine[object, object, None]]:
        """Return the background loops; each ends when ``stop`` is set."""
        watch = {} if self.tls is None else {"certificate": self.tls.watch(stop)}
        return {
            **watch,
            "broker": self.broker.run(stop),
            "status": self._status_watch.run(stop),
            "beacon": self._beacon_watch.run(stop),
            "keys": self._keys_watch.run(stop),
            "refill": self._polls.refill(stop),
            "deliveries": self._telling.tell_deliveries(stop),
            "presence": self._telling.tell_presence(stop),
        }

    async def stop(self, runner: web.AppRunner) -> None:
        """Answer parked polls, end requests under way, close the connection to the broker."""
        self.parked.stop()
        await runner.cleanup()
        await self._telling.tell_last()
        await self.broker.close()
