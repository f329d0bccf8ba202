"""Wires the dispatcher: settings, keys, database, broker, loops; nothing is decided here.

The order of the start: probes first, so that a start that waits says for what; then the database, the manifest and
the keys in it, the broker and its streams; then the loops, each a named task. A loop that dies ends the program.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from nats.aio.client import Client
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from redflag_broker_config.apply import apply
from redflag_broker_config.connect import connect, read_seed
from redflag_broker_config.errors import CredentialsError
from redflag_broker_config.permissions import Service
from redflag_broker_config.subjects import INGEST_DELIVERED, INGEST_REPORT, UP_STREAM
from redflag_dispatcher.access_tokens import AccessTokens
from redflag_dispatcher.announce import BeaconAnnouncer, ManifestAnnouncer
from redflag_dispatcher.auth_service import AuthService
from redflag_dispatcher.enrolment import Enrolments
from redflag_dispatcher.errors import KeySetError
from redflag_dispatcher.identifiers import Identifiers
from redflag_dispatcher.ingest import Ingest
from redflag_dispatcher.keys import KeyRing, check_keys, load_signing_keys, pinned_roots, walk_chain
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.publisher import Publisher
from redflag_dispatcher.pull import Puller
from redflag_dispatcher.readiness import Readiness
from redflag_dispatcher.reconcile import Reconciler
from redflag_dispatcher.relay import OutboxLag, Relay
from redflag_dispatcher.renewal import Renewals
from redflag_dispatcher.retrying import TRANSIENT, backoff_s, keep, wait_for
from redflag_dispatcher.schedule import ScheduleLag
from redflag_dispatcher.seen import Deliveries, Presence
from redflag_dispatcher.settings import Settings
from redflag_dispatcher.signer import Signer
from redflag_dispatcher.streams import Streams
from redflag_ops import logging, runner
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger
from redflag_ops.ops_server import OpsServer
from redflag_ops.settings import load_settings, parse_listen, read_secret
from redflag_ops.tasks import run_loops
from redflag_store.engine import DatabaseUrlRefusedError, open_engine, sessions
from redflag_store.listen import Listener
from redflag_store.queries.keys import manifest_chain
from redflag_store.queries.settings import SETTINGS_CHANNEL
from redflag_wire.clock import Clock, SystemClock

PROGRAM = "dispatcher"
REQUESTED_CHANNEL = "redflag_requested"
POLL_S = 5.0  # the signer looks by itself this often; notices only make it faster
RELAY_IDLE_S = 0.5  # the same for the relay, whose rows may become due by time
PRESENCE_S = 5.0
CONNECT_DEADLINE_S = 3.0  # of one attempt at the start; then the probe says why, and the next begins
MANIFEST_S = 30.0
LAG_S = 5.0
POOL_SIZE = 12  # one connection per loop, and some for the auth service

START_FAULTS: tuple[type[Exception], ...] = (*TRANSIENT, KeySetError, ProgrammingError)

_log = get_logger()
_T = TypeVar("_T")
Step = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Wakes:
    """One event per loop that others wake; ``all`` wakes every one, for a stop or a new connection."""

    signer: asyncio.Event = field(default_factory=asyncio.Event)
    relay: asyncio.Event = field(default_factory=asyncio.Event)
    reconcile: asyncio.Event = field(default_factory=asyncio.Event)
    manifest: asyncio.Event = field(default_factory=asyncio.Event)
    beacon: asyncio.Event = field(default_factory=asyncio.Event)
    presence: asyncio.Event = field(default_factory=asyncio.Event)
    timed: asyncio.Event = field(default_factory=asyncio.Event)  # loops nobody wakes but a stop

    def all(self) -> None:
        """Wake every loop."""
        for name in self.__slots__:
            getattr(self, name).set()


async def persist(
    what: str, act: Callable[[], Awaitable[_T]], readiness: Readiness, stop: asyncio.Event
) -> _T | None:
    """Try until it works; None when told to stop first. Readiness and log say what is waited for."""
    failures = 0
    readiness.waiting = what
    while not stop.is_set():
        try:
            return await act()
        except START_FAULTS as error:
            failures += 1
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            readiness.waiting = f"{what}: {reason}"
            _log.warning("start.waiting", what=what, error=reason, failures=failures)
            await wait_for(stop, backoff_s(failures))
    return None


class Dispatcher:
    """One dispatcher process.

    Args:
        settings: read.
        clock: the server's.
        registry: of the metrics page.
    """

    def __init__(self, settings: Settings, clock: Clock, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._clock = clock
        self._fleet = str(settings.fleet)
        self._metrics = Metrics(registry)
        self._registry = registry
        self._readiness = Readiness()
        self._wakes = Wakes()
        self._new_id = Identifiers(clock)
        self._pullers: list[Puller] = []
        self._keys = load_signing_keys(settings.keys_dir)
        self._rootfp = pinned_roots(settings.root_fingerprint, settings.keys_dir)
        self._database_url = settings.dispatcher_database_url

    async def serve(self, stop: asyncio.Event) -> None:
        """Start, run until ``stop`` is set, and stop in order."""
        async with AsyncExitStack() as stack:
            await self._start_ops(stack)
            engine = self._open_engine()
            stack.push_async_callback(engine.dispose)
            self._readiness.engine = engine
            maker = sessions(engine)
            ring = await persist("database", partial(self._load_ring, maker), self._readiness, stop)
            if ring is None:
                return
            nc = await persist("broker", self._connect, self._readiness, stop)
            if nc is None:
                return
            stack.push_async_callback(nc.close)
            self._readiness.nc = nc
            if await persist("streams", partial(self._ensure, nc), self._readiness, stop) is None:
                return
            stopper = asyncio.create_task(self._wake_on(stop), name="stop-wakes")
            stack.callback(stopper.cancel)
            await self._run(stack, maker, nc, ring, stop)

    async def _start_ops(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        token = None if settings.ops_token_file is None else read_secret(settings.ops_token_file, "ops token")
        ops = OpsServer(parse_listen(settings.ops_listen), self._registry, self._readiness, token)
        url = await ops.start()
        stack.push_async_callback(ops.stop)
        _log.info("ops.listening", url=url)

    def _open_engine(self) -> AsyncEngine:
        try:
            return open_engine(self._database_url, pool_size=POOL_SIZE, application_name="redflag-dispatcher")
        except DatabaseUrlRefusedError as error:
            raise ConfigurationError(f"REDFLAG_DISPATCHER_DATABASE_URL: {error}") from None

    async def _load_ring(self, maker: async_sessionmaker[AsyncSession]) -> KeyRing:
        async with maker() as session, session.begin():
            chain = [envelope for _, envelope in await manifest_chain(session)]
        manifest = walk_chain(self._rootfp, chain)
        check_keys(self._keys, manifest, fleet=self._fleet, now=self._clock.now())
        return KeyRing(self._keys, manifest, self._rootfp, self._fleet)

    async def _connect(self) -> Client:
        async def on_error(error: Exception) -> None:
            _log.warning("broker.error", error=str(error) or type(error).__name__)

        async def on_disconnected() -> None:
            self._metrics.broker_connected.set(0)
            _log.warning("broker.disconnected")

        async def on_reconnected() -> None:
            self._metrics.broker_connected.set(1)
            _log.info("broker.reconnected")
            for puller in self._pullers:
                puller.ask_again()
            self._wakes.all()

        nc = await connect(
            self._settings.nats_url,
            self._settings.dispatcher_nats_seed_file,
            Service.DISPATCHER,
            "redflag-dispatcher",
            on_error=on_error,
            on_disconnected=on_disconnected,
            on_reconnected=on_reconnected,
            deadline_s=CONNECT_DEADLINE_S,
        )
        self._metrics.broker_connected.set(1)
        return nc

    async def _ensure(self, nc: Client) -> bool:
        applied = await apply(nc, self._settings.dispatcher_replicas)
        if applied.changed or applied.refused:
            _log.info(
                "broker.applied", created=applied.created, updated=applied.updated, refused=applied.refused
            )
        if applied.created:
            # What the buckets held is gone with them.
            self._wakes.manifest.set()
            self._wakes.beacon.set()
        return True

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wakes.all()

    async def _run(
        self,
        stack: AsyncExitStack,
        maker: async_sessionmaker[AsyncSession],
        nc: Client,
        ring: KeyRing,
        stop: asyncio.Event,
    ) -> None:
        clock, new, metrics, wakes, fleet = self._clock, self._new_id, self._metrics, self._wakes, self._fleet
        publisher, streams, live = Publisher(nc), Streams(nc), LiveSettings(maker, clock)
        reports = Puller(nc, UP_STREAM, INGEST_REPORT, clock=clock)
        delivered = Puller(nc, UP_STREAM, INGEST_DELIVERED, clock=clock)
        self._pullers.extend((reports, delivered))
        presence = Presence(maker, nc, clock=clock, arrived=lambda: None)
        life = timedelta(seconds=self._settings.dispatcher_access_token_s)
        tokens = AccessTokens(ring.keys.access, fleet=fleet, life=life, new_id=new)
        auth = AuthService(
            nc,
            Enrolments(maker, ring, tokens, fleet=fleet, clock=clock, new_id=new),
            Renewals(maker, tokens, clock=clock, new_id=new),
            metrics=metrics,
        )
        for part in (publisher, reports, delivered, presence, auth):
            await part.start()
            stack.push_async_callback(part.stop)
        signer = Signer(
            maker, ring, fleet=fleet, clock=clock, new_id=new, metrics=metrics, signed=wakes.relay.set
        )
        relay = Relay(maker, nc, publisher, streams, clock=clock, new_id=new, metrics=metrics)
        reconciler = Reconciler(
            maker,
            nc,
            streams,
            clock=clock,
            new_id=new,
            metrics=metrics,
            due=wakes.relay.set,
            ensure=partial(self._ensure_streams, nc),
        )
        ingest = Ingest(maker, nc, reports, fleet=fleet, clock=clock, new_id=new, metrics=metrics)
        manifests = ManifestAnnouncer(maker, nc, ring, clock=clock)
        beacons = BeaconAnnouncer(nc, ring, fleet=fleet, clock=clock)
        deliveries = Deliveries(maker, delivered, metrics=metrics)
        lag = OutboxLag(maker, clock=clock, metrics=metrics)
        schedule_lag = ScheduleLag(maker, clock=clock, metrics=metrics)

        def loop(
            name: str, step: Step, wake: asyncio.Event, idle_s: float
        ) -> Coroutine[object, object, None]:
            return keep(name, step, stop=stop, wake=wake, idle_s=idle_s, metrics=metrics)

        for what, first in (("streams", streams.refresh), ("keys", manifests.step), ("beacon", beacons.step)):
            if await persist(what, first, self._readiness, stop) is None:
                return
        loops = {
            "requested": self._listen(stop, live),
            "signer": loop("signer", signer.step, wakes.signer, POLL_S),
            "relay": loop("relay", relay.step, wakes.relay, RELAY_IDLE_S),
            "ingest": loop("ingest", ingest.step, wakes.timed, 0.1),
            "delivered": loop("delivered", deliveries.step, wakes.timed, 0.1),
            "reconcile": loop(
                "reconcile", reconciler.step, wakes.reconcile, self._settings.dispatcher_reconcile_s
            ),
            "manifest": loop("manifest", manifests.step, wakes.manifest, MANIFEST_S),
            "beacon": loop("beacon", beacons.step, wakes.beacon, self._settings.dispatcher_beacon_s),
            "presence": loop("presence", presence.step, wakes.presence, PRESENCE_S),
            "lag": loop("lag", lag.step, wakes.timed, LAG_S),
            "schedule-lag": loop("schedule-lag", schedule_lag.step, wakes.timed, LAG_S),
        }
        self._readiness.waiting = None
        _log.info("dispatcher.ready", manifest=ring.manifest.version)
        await run_loops(stop, loops)

    async def _ensure_streams(self, nc: Client) -> None:
        await self._ensure(nc)

    async def _listen(self, stop: asyncio.Event, live: LiveSettings) -> None:
        """Wake the signer on notices, and read settings afresh; without notices both look by themselves."""

        def on_error(error: Exception) -> None:
            _log.warning("listen.fault", error=str(error) or type(error).__name__)

        async with Listener(
            self._database_url,
            [REQUESTED_CHANNEL, SETTINGS_CHANNEL],
            poll_s=1.0,
            application_name="redflag-dispatcher-listen",
            on_error=on_error,
        ) as listener:
            while not stop.is_set():
                wake = await listener.wait()
                if wake.notices or wake.lost:
                    if wake.lost or any(one.channel == SETTINGS_CHANNEL for one in wake.notices):
                        live.stale()
                    self._wakes.signer.set()


def check_seed(path: Path) -> None:
    """Hold at the start that the broker's seed file is usable.

    Raises:
        ConfigurationError: it is not.
    """
    try:
        read_seed(path)
    except CredentialsError as error:
        raise ConfigurationError(f"REDFLAG_DISPATCHER_NATS_SEED_FILE: {error}") from None


async def serve(stop: asyncio.Event) -> None:
    """Run a dispatcher with the settings of the environment.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load_settings(Settings)
    logging.configure(PROGRAM, settings.log_format)
    check_seed(settings.dispatcher_nats_seed_file)
    await Dispatcher(settings, SystemClock(), CollectorRegistry()).serve(stop)


def main() -> int:
    """Run the program; return its exit code."""
    return runner.run(PROGRAM, serve)


if __name__ == "__main__":
    sys.exit(main())
