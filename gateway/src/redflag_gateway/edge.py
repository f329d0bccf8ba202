"""The edge of the gateway: every request comes in and every answer goes out here.

Guarantees: a call that is not in ``UNSIGNED`` is served only after its signature was verified (renewals: by the auth
service); every answer carries the next server nonce; every request leaves one record and its counts, empty polls a
record on level debug only; no text of an inner error reaches a peer.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from redflag_gateway.agent_plane import SIGNED_WITHOUT_TOKEN, UNSIGNED, Answer, Asked, Route
from redflag_gateway.auth import HEADER_NONCE, Authenticator, SignedParts, read_signed_parts
from redflag_gateway.body import read_body
from redflag_gateway.errors import BrokerError, Refusal, UnavailableError
from redflag_gateway.metrics import Metrics
from redflag_gateway.nonces import ServerNonces
from redflag_gateway.outgoing import Presence
from redflag_gateway.problems import problem_response
from redflag_ops.logging import get_logger
from redflag_wire.clock import Clock

BROKER_RETRY_S = 5
_WAITING_ROUTE = "commands"


class Edge:
    """Lets requests in.

    Args:
        origin: the public origin signatures cover.
        authenticator: decides who asks.
        nonces: makes server nonces.
        presence: told who was here.
        clock: the time.
        metrics: where to count.
    """

    def __init__(
        self,
        *,
        origin: str,
        authenticator: Authenticator,
        nonces: ServerNonces,
        presence: Presence,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._origin = origin
        self._authenticator = authenticator
        self._nonces = nonces
        self._presence = presence
        self._clock = clock
        self._metrics = metrics
        self._log = get_logger()
        self._root_log = logging.getLogger()

    def add_routes(self, app: web.Application, routes: tuple[Route, ...]) -> None:
        """Serve the routes in an application."""
        for route in routes:
            app.router.add_route(route.method, route.path, self._handler(route))
        # Whatever is not a route is answered in the same form.
        app.router.add_route("*", "/{tail:.*}", self._nothing_here)

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return await self._serve(request, route)

        return handle

    async def _nothing_here(self, _request: web.Request) -> web.Response:
        refusal = Refusal(HTTPStatus.NOT_FOUND, "not_found", "There is no such call.")
        self._count("none", refusal.status.value, refusal)
        return self._finish(problem_response(refusal))

    async def _serve(self, request: web.Request, route: Route) -> web.Response:
        started = time.perf_counter()
        record: dict[str, Any] = {}
        refusal: Refusal | None = None
        try:
            answer = await self._let_in(request, route, record)
            response = web.Response(body=answer.body, status=answer.status, content_type="application/json")
        except Refusal as error:
            refusal = error
        except BrokerError as error:
            self._log.warning("request.broker_failed", route=route.name, reason=str(error))
            refusal = UnavailableError("broker_away", "The broker cannot be reached now.", BROKER_RETRY_S)
        except ConnectionError:
            # The client went away while its body was read; there is nobody to answer.
            refusal = Refusal(HTTPStatus.BAD_REQUEST, "gone", "The connection was lost.")
        except Exception:  # noqa: BLE001 - recorded with its stack; the peer learns nothing of it
            self._log.error("request.failed", route=route.name, exc_info=True)
            refusal = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The gateway failed.")
        if refusal is not None:
            response = problem_response(refusal)
        self._count(route.name, response.status, refusal)
        self._record(route, response.status, refusal, record, time.perf_counter() - started)
        return self._finish(response)

    async def _let_in(self, request: web.Request, route: Route, record: dict[str, Any]) -> Answer:
        call = (route.method, route.path)
        agent = signed = None
        if call in UNSIGNED:
            body = await read_body(request, route.body_max)
        elif call in SIGNED_WITHOUT_TOKEN:
            signed = self._signed_parts(request, with_token=False)
            body = await read_body(request, route.body_max)
        else:
            claim = self._authenticator.begin(self._signed_parts(request, with_token=True), self._clock.now())
            body = await read_body(request, route.body_max)
            agent = self._authenticator.finish(claim, body, self._clock.now()).agent
            record["agent"] = agent
            self._presence.note(agent, self._clock.now())
        asked = Asked(
            agent=agent,
            body=body,
            content_type=request.content_type,
            query=dict(request.query),
            peer=request.remote or "",
            signed=signed,
            record=record,
        )
        return await route.call(asked)

    def _signed_parts(self, request: web.Request, *, with_token: bool) -> SignedParts:
        uri = self._origin + request.raw_path
        return read_signed_parts(request.method, uri, request.headers, with_token=with_token)

    def _finish(self, response: web.Response) -> web.Response:
        response.headers[HEADER_NONCE] = self._nonces.current(self._clock.now())
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Server"] = "redflag"
        return response

    def _count(self, name: str, status: int, refusal: Refusal | None) -> None:
        self._metrics.requests.labels(name, str(status)).inc()
        if refusal is not None:
            self._metrics.refusals.labels(refusal.code).inc()

    def _record(
        self, route: Route, status: int, refusal: Refusal | None, record: dict[str, Any], seconds: float
    ) -> None:
        quiet = route.name == _WAITING_ROUTE and refusal is None and "cmds" not in record
        if not quiet:
            self._metrics.request_seconds.labels(route.name).observe(seconds)
        elif not self._root_log.isEnabledFor(logging.DEBUG):
            return
        if refusal is not None:
            record["code"] = refusal.code
        if "agent" in record:
            record["agent"] = str(record["agent"])
        self._log.log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            route=route.name,
            status=status,
            ms=round(seconds * 1000, 2),
            **record,
        )
