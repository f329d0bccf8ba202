"""The gateway's process: settings, logging, ops listener, and a stop in order."""

import asyncio
import sys

from prometheus_client import CollectorRegistry

from redflag_gateway.app import Gateway
from redflag_gateway.settings import Settings
from redflag_ops.build_info import build, release
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import configure, get_logger
from redflag_ops.ops_server import OpsServer
from redflag_ops.runner import EXIT_CONFIGURATION, run
from redflag_ops.settings import load_settings, parse_listen, read_secret
from redflag_ops.tasks import run_loops
from redflag_wire.clock import SystemClock

PROGRAM = "gateway"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve agents until ``stop`` is set.

    Raises:
        ConfigurationError: a setting or a file it names is not usable.
    """
    registry = CollectorRegistry()
    gateway = Gateway(settings, registry, SystemClock())
    token = None
    if settings.ops_token_file is not None:
        token = read_secret(settings.ops_token_file, "REDFLAG_OPS_TOKEN_FILE")
    ops = OpsServer(parse_listen(settings.ops_listen), registry, gateway.readiness, token)
    try:
        ops_url = await ops.start()
    except OSError as error:
        raise ConfigurationError(f"REDFLAG_OPS_LISTEN: {error.strerror or error}") from None
    try:
        runner, url = await gateway.start()
        gateway.events.started(release("redflag-gateway"), build())
        get_logger().info("gateway.started", url=url, ops_url=ops_url, origin=settings.gateway_origin)
        try:
            await run_loops(stop, gateway.loops(stop))
        finally:
            await gateway.stop(runner)
            get_logger().info("gateway.stopped")
    finally:
        await ops.stop()


def main() -> int:
    """Run the gateway; return the process's exit code."""
    try:
        settings = load_settings(Settings)
    except ConfigurationError as error:
        sys.stderr.write(f"redflag {PROGRAM}: {error}\n")
        return EXIT_CONFIGURATION
    configure(PROGRAM, settings.log_format)
    return run(PROGRAM, lambda stop: serve(settings, stop))
