"""The listener for those who run RedFlag: ``/livez``, ``/readyz`` and ``/metrics``, apart from the public one.

It guarantees that the three answer without touching what the program serves to others, that a check that hangs
shows as a reason instead of hanging the probe, and that with a token set nothing but a bare status is told
without it.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

READINESS_DEADLINE_S = 3.0  # a check that takes longer counts as failed
SHUTDOWN_GRACE_S = 1.0

Readiness = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Answers each check's name with None when it is well, else with the reason it is not."""


class OpsServer:
    """Serves probes and metrics of one program.

    Args:
        listen: host and port; port 0 takes any free one.
        registry: what ``/metrics`` shows.
        readiness: asked by ``/readyz``.
        token: when given, ``/metrics`` and the details of ``/readyz`` need it as a bearer token.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        registry: CollectorRegistry,
        readiness: Readiness,
        token: str | None = None,
    ) -> None:
        self._listen = listen
        self._registry = registry
        self._readiness = readiness
        self._token = None if token is None else token.encode()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Start listening; return the address as a URL.

        Raises:
            OSError: the address cannot be bound.
        """
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_GRACE_S)
        await runner.setup()
        host, port = self._listen
        site = web.TCPSite(runner, host, port)
        await site.start()
        self._runner = runner
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return f"http://{shown}:{bound[1]}"

    async def stop(self) -> None:
        """Stop listening; harmless when never started."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _may_see(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        checks: Mapping[str, str | None]
        try:
            async with asyncio.timeout(READINESS_DEADLINE_S):
                checks = await self._readiness()
        except TimeoutError:
            checks = {"readiness": f"no answer within {READINESS_DEADLINE_S:g} s"}
        ready = all(reason is None for reason in checks.values())
        body: dict[str, object] = {"ready": ready}
        if self._may_see(request):
            body["checks"] = {name: reason or "ok" for name, reason in checks.items()}
        return web.json_response(body, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self._may_see(request):
            return web.Response(
                status=401, text="a bearer token is needed\n", headers={"WWW-Authenticate": "Bearer"}
            )
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
