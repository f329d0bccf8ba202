"""The program: wires the API to its database, its key and its listeners, and stops them in order.

It starts whether or not the database is there: readiness says so, and requests are answered with
`database_unavailable` until it is.
"""

import asyncio
import contextlib
import os
import secrets
import sys
from importlib.metadata import version
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from redflag_dashboard.announce import announce
from redflag_dashboard.api.tokens import install_authority
from redflag_dashboard.app import build_app
from redflag_dashboard.changes import Changes
from redflag_dashboard.metrics import Metrics
from redflag_dashboard.parts import Parts
from redflag_dashboard.settings import Settings
from redflag_ops import runner
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import configure, get_logger
from redflag_ops.ops_server import OpsServer
from redflag_ops.settings import load_settings, parse_listen, read_secret
from redflag_ops.tasks import run_loops
from redflag_ops.tls import check_listener, tls_of
from redflag_store.engine import DatabaseUrlRefusedError, open_engine, sessions
from redflag_store.listen import Listener, Wake
from redflag_store.queries.journal import CHANGE_CHANNEL
from redflag_wire.clock import SystemClock
from redflag_wire.errors import WireError
from redflag_wire.signing import SigningKey

PROGRAM: Final = "dashboard"
SHUTDOWN_GRACE_S: Final = 1.0  # for requests under way; long waits are cut short
LISTEN_POLL_S: Final = 5.0
READY_DEADLINE_S: Final = 2.0
KEEPALIVE_S: Final = 75.0


def _intent_key(settings: Settings) -> SigningKey:
    secret = read_secret(settings.intent_key_file, "REDFLAG_INTENT_KEY_FILE")
    try:
        return SigningKey.from_text(secret, "intent")
    except WireError as error:
        raise ConfigurationError(
            f"REDFLAG_INTENT_KEY_FILE: {settings.intent_key_file} holds no intent key ({error.code})"
        ) from None


async def _listen(changes: Changes, metrics: Metrics, listener: Listener, stop: asyncio.Event) -> None:
    """Hand the database's notices on until told to stop."""
    stopped = asyncio.create_task(stop.wait(), name="stop listening")
    try:
        async with listener:
            while not stop.is_set():
                waiting = asyncio.create_task(listener.wait(), name="notices")
                await asyncio.wait([waiting, stopped], return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                    return
                _hand_on(await waiting, changes)
                metrics.listening.set(listener.connected)
    finally:
        stopped.cancel()


def _hand_on(wake: Wake, changes: Changes) -> None:
    if wake.lost:
        changes.look_afresh()
    for notice in wake.notices:
        changes.notice(notice.payload)


def _address(text_: str, setting: str) -> tuple[str, int]:
    try:
        return parse_listen(text_)
    except ConfigurationError as error:
        raise ConfigurationError(f"{setting}: {error}") from None


async def _database_reason(engine: AsyncEngine) -> str | None:
    try:
        async with asyncio.timeout(READY_DEADLINE_S), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return f"the database does not answer ({type(error).__name__})"
    return None


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    log = get_logger()
    listen = _address(settings.dashboard_listen, "REDFLAG_DASHBOARD_LISTEN")
    tls = tls_of(
        settings.dashboard_tls_cert,
        settings.dashboard_tls_key,
        setting="REDFLAG_DASHBOARD_TLS",
        now=SystemClock().now,
    )
    check_listener(listen[0], tls, behind_proxy=settings.dashboard_behind_proxy, setting="REDFLAG_DASHBOARD")
    install_authority(settings.gateway_ca_file)
    ops_listen = _address(settings.ops_listen, "REDFLAG_OPS_LISTEN")
    token = None if settings.ops_token_file is None else read_secret(settings.ops_token_file, "ops token")
    key = _intent_key(settings)
    registry = CollectorRegistry()
    release = version("redflag-dashboard")
    metrics = Metrics(registry, release)
    changes = Changes(metrics)
    try:
        engine = open_engine(
            settings.dashboard_database_url,
            pool_size=settings.dashboard_pool_size,
            application_name="redflag-dashboard",
        )
        listener = Listener(
            settings.dashboard_database_url,
            [CHANGE_CHANNEL],
            poll_s=LISTEN_POLL_S,
            application_name="redflag-dashboard-listen",
            on_error=lambda error: log.warning("database.listen_failed", error=type(error).__name__),
        )
    except DatabaseUrlRefusedError as error:
        raise ConfigurationError(f"REDFLAG_DASHBOARD_DATABASE_URL: {error}") from None
    parts = Parts(
        sessions=sessions(engine),
        clock=SystemClock(),
        random=secrets.token_bytes,
        intent_key=key,
        fleet=settings.fleet,
        gateway_origin=settings.gateway_origin,
        changes=changes,
        metrics=metrics,
        version=release,
        gateway_ca_file=settings.gateway_ca_file,
    )

    async def readiness() -> dict[str, str | None]:
        return {"database": await _database_reason(engine)}

    ops = OpsServer(ops_listen, registry, readiness, token)
    app_runner = web.AppRunner(
        build_app(parts), access_log=None, shutdown_timeout=SHUTDOWN_GRACE_S, keepalive_timeout=KEEPALIVE_S
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        ops_url = await _bound(ops.start(), "REDFLAG_OPS_LISTEN")
        stack.push_async_callback(ops.stop)
        await app_runner.setup()
        stack.push_async_callback(app_runner.cleanup)
        site = web.TCPSite(app_runner, *listen, ssl_context=None if tls is None else tls.context)
        await _bound(site.start(), "REDFLAG_DASHBOARD_LISTEN")
        log.info("dashboard.started", listen=[str(one) for one in app_runner.addresses], ops=ops_url)
        loops = {"listen": _listen(changes, metrics, listener, stop)}
        loops["announce"] = announce(parts, stop)
        if tls is not None:
            tls.watch_metrics(registry, PROGRAM)
            loops["certificate"] = tls.watch(stop)
        await run_loops(stop, loops)
        changes.close()
    log.info("dashboard.stopped")


async def _bound(starting: "asyncio.Future[object] | object", setting: str) -> object:
    try:
        return await starting  # type: ignore[misc]
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot listen there: {error.strerror or error}") from None


def main() -> None:
    """Run the program; the process ends with its exit code."""
    configure(PROGRAM, "console" if os.environ.get("REDFLAG_LOG_FORMAT") == "console" else "json")

    async def body(stop: asyncio.Event) -> None:
        await _serve(load_settings(Settings), stop)

    sys.exit(runner.run(PROGRAM, body))
