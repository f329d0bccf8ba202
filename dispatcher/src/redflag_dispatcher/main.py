"""Wires the dispatcher: settings, keys, database, broker, loops; nothing is decided here.

The order of the start: probes first, so that a start that waits says for what; then the database, the manifest and
the keys in it, the broker and its streams; then the loops, each a named task. A loop that dies ends the program.
"""

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from nats.aio.client import Client
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from redflag_broker_config.apply import apply
from redflag_broker_config.connect import connect, read_seed
from redflag_broker_config.errors import CredentialsError
from redflag_broker_config.permissions import Service
from redflag_dispatcher.identifiers import Identifiers
from redflag_dispatcher.keys import KeyRing, check_keys, load_signing_keys, pinned_roots, walk_chain
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.loops import Ground, make_parts
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.notices import listen
from redflag_dispatcher.persist import persist
from redflag_dispatcher.pull import Puller
from redflag_dispatcher.readiness import Readiness
from redflag_dispatcher.retrying import keep
from redflag_dispatcher.settings import Settings
from redflag_dispatcher.wakes import Wakes
from redflag_ops import logging, runner
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger
from redflag_ops.ops_server import OpsServer
from redflag_ops.settings import load_settings, parse_listen, read_secret
from redflag_ops.tasks import run_loops
from redflag_store.engine import DatabaseUrlRefusedError, open_engine, sessions
from redflag_store.queries.commands_create import REQUESTED_CHANNEL
from redflag_store.queries.jobs import JOB_CHANNEL
from redflag_store.queries.keys import manifest_chain
from redflag_store.queries.settings import SETTINGS_CHANNEL
from redflag_wire.clock import Clock, SystemClock

PROGRAM = "dispatcher"
CONNECT_DEADLINE_S = 3.0  # of one attempt at the start; then the probe says why, and the next begins
POOL_SIZE = 20  # a connection or two per loop, and some for the auth service

_log = get_logger()


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
        live = LiveSettings(maker, self._clock)
        ground = Ground(
            maker=maker,
            nc=nc,
            ring=ring,
            settings=self._settings,
            live=live,
            clock=self._clock,
            new_id=self._new_id,
            metrics=self._metrics,
            wakes=self._wakes,
            fleet=self._fleet,
            ensure=partial(self._ensure_streams, nc),
        )
        parts = await make_parts(ground, stack)
        self._pullers.extend(parts.pullers)
        for what, first in parts.first:
            if await persist(what, first, self._readiness, stop) is None:
                return
        notices = {
            REQUESTED_CHANNEL: self._wakes.signer.set,
            JOB_CHANNEL: self._wakes.jobs.set,
            SETTINGS_CHANNEL: live.stale,
        }
        loops: dict[str, Coroutine[object, object, None]] = {
            loop.name: keep(
                loop.name, loop.step, stop=stop, wake=loop.wake, idle_s=loop.idle_s, metrics=self._metrics
            )
            for loop in parts.loops
        }
        loops["notices"] = listen(self._database_url, notices, stop)
        self._readiness.waiting = None
        _log.info("dispatcher.ready", manifest=ring.manifest.version)
        await run_loops(stop, loops)

    async def _ensure_streams(self, nc: Client) -> None:
        await self._ensure(nc)


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
