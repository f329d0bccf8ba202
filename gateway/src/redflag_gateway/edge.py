"""The edge of the gateway: every request comes in and every answer goes out here.

Guarantees: a call that is not in ``UNSIGNED`` is served only after its signature was verified (renewals: by the auth
service); every answer carries the next server nonce; every request leaves one record and its counts, empty polls a
record on level debug only; no text of an inner error reaches a peer. Refusals cannot flood the log: what does not fit
its budget is counted and told in one record.

A request of an agent that asks too often is refused before its body is read and its signature verified; why nobody can
lock another agent out that way stands in `agent_rate`.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from redflag_gateway.agent_plane import SIGNED_WITHOUT_TOKEN, UNSIGNED, Answer, Asked, Route
from redflag_gateway.agent_rate import AgentRates
from redflag_gateway.auth import HEADER_NONCE, Authenticator, SignedParts, read_signed_parts
from redflag_gateway.body import read_body
from redflag_gateway.errors import BrokerError, Refusal, TooOftenError, UnavailableError
from redflag_gateway.guard import Guard
from redflag_gateway.log_budget import LogBudget
from redflag_gateway.metrics import Metrics
from redflag_gateway.nonces import ServerNonces
from redflag_gateway.outgoing import Presence
from redflag_gateway.problems import problem_response
from redflag_ops.logging import get_logger
from redflag_wire.clock import Clock

BROKER_RETRY_S = 5
STOPPING_RETRY_S = 2
_WAITING_ROUTE = "commands"
_PASSING = frozenset({"nonce_stale", "token_expired"})
"""Refusals every honest agent meets now and then; any other 401 ends its connection."""


class Edge:
    """Lets requests in.

    Args:
        origin: the public origin signatures cover.
        authenticator: decides who asks.
        nonces: makes server nonces.
        presence: told who was here.
        rates: how often each agent may ask.
        clock: the time.
        metrics: where to count.
        behind_proxy: whether X-Forwarded-For was written by a proxy of ours.
    """

    def __init__(
        self,
        *,
        origin: str,
        authenticator: Authenticator,
        nonces: ServerNonces,
        presence: Presence,
        rates: AgentRates,
        clock: Clock,
        metrics: Metrics,
        behind_proxy: bool = False,
    ) -> None:
        self._origin = origin
        self._authenticator = authenticator
        self._nonces = nonces
        self._presence = presence
        self._rates = rates
        self._behind_proxy = behind_proxy
        self._budget = LogBudget()
        self._in_hand = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
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

    async def drain(self, seconds: float) -> int:
        """Answer every request from now on with 503, and wait for those in hand.

        Args:
            seconds: how long at most.

        Returns:
            How many were still in hand then.
        """
        self._draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return self._in_hand
        return 0

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            self._in_hand += 1
            self._idle.clear()
            try:
                return await self._serve(request, route)
            finally:
                self._in_hand -= 1
                if self._in_hand == 0:
                    self._idle.set()

        return handle

    async def _nothing_here(self, request: web.Request) -> web.Response:
        guard = _guard_of(request)
        if guard is not None:
            guard.begin()
        refusal = Refusal(HTTPStatus.NOT_FOUND, "not_found", "There is no such call.")
        self._count("none", refusal.status.value, refusal)
        return self._finish(request, guard, problem_response(refusal), refusal)

    async def _serve(self, request: web.Request, route: Route) -> web.Response:
        started = time.perf_counter()
        record: dict[str, Any] = {}
        refusal: Refusal | None = None
        guard = _guard_of(request)
        if guard is not None:
            guard.begin()
        try:
            answer = await self._let_in(request, route, record, guard)
            response = web.Response(body=answer.body, status=answer.status, content_type="application/json")
        except Refusal as error:
            refusal = error
        except BrokerError as error:
            record["reason"] = str(error)
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
        return self._finish(request, guard, response, refusal)

    async def _let_in(
        self, request: web.Request, route: Route, record: dict[str, Any], guard: Guard | None
    ) -> Answer:
        if self._draining:
            raise UnavailableError("stopping", "This gateway stops; ask again.", STOPPING_RETRY_S)
        call = (route.method, route.path)
        agent = signed = None
        if call in UNSIGNED:
            body = await read_body(request, route.body_max)
        elif call in SIGNED_WITHOUT_TOKEN:
            signed = self._signed_parts(request, with_token=False)
            body = await read_body(request, route.body_max)
        else:
            claim = self._authenticator.begin(self._signed_parts(request, with_token=True), self._clock.now())
            wait_s = self._rates.wait_s(claim.principal.agent, self._clock.monotonic())
            if wait_s:
                raise TooOftenError(wait_s)
            body = await read_body(request, route.body_max)
            agent = self._authenticator.finish(claim, body, self._clock.now()).agent
            self._rates.spend(agent, self._clock.monotonic())
            if guard is not None:
                guard.place.prove()
            record["agent"] = agent
            self._presence.note(agent, self._clock.now())
        asked = Asked(
            agent=agent,
            body=body,
            content_type=request.content_type,
            query=dict(request.query),
            peer=self._peer(request),
            signed=signed,
            record=record,
        )
        answer = await route.call(asked)
        if guard is not None and request.method == "POST":
            # A signature was valid: the agent's, or one the auth service verified before it let a host in.
            guard.place.prove()
        return answer

    def _peer(self, request: web.Request) -> str:
        """Return the address of the peer; behind a proxy the one the proxy wrote last."""
        if self._behind_proxy:
            named = request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()
            try:
                return str(ipaddress.ip_address(named))
            except ValueError:
                return request.remote or ""
        return request.remote or ""

    def _signed_parts(self, request: web.Request, *, with_token: bool) -> SignedParts:
        uri = self._origin + request.raw_path
        return read_signed_parts(request.method, uri, request.headers, with_token=with_token)

    def _finish(
        self, request: web.Request, guard: Guard | None, response: web.Response, refusal: Refusal | None
    ) -> web.Response:
        # An unread body would be taken for the next request; a signature that does not hold is not tried twice here.
        unread = request.body_exists and not request.content.at_eof()
        suspicious = response.status == HTTPStatus.UNAUTHORIZED and (
            refusal is None or refusal.code not in _PASSING
        )
        close = self._draining or unread or suspicious
        if guard is not None:
            close = guard.end(close=close)
        if close:
            response.force_close()
        response.headers[HEADER_NONCE] = self._nonces.current(self._clock.now())
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _count(self, name: str, status: int, refusal: Refusal | None) -> None:
        self._metrics.requests.labels(name, str(status)).inc()
        if refusal is not None:
            self._metrics.refusals.labels(refusal.code).inc()

    def _has_room(self) -> bool:
        """Say whether the log has room for one more refusal; tell what it had no room for before."""
        if not self._budget.take(self._clock.monotonic()):
            self._metrics.records_dropped.inc()
            return False
        dropped = self._budget.dropped()
        if dropped:
            self._log.warning("request.records_dropped", count=dropped)
        return True

    def _record(
        self, route: Route, status: int, refusal: Refusal | None, record: dict[str, Any], seconds: float
    ) -> None:
        quiet = route.name == _WAITING_ROUTE and refusal is None and "cmds" not in record
        if not quiet:
            self._metrics.request_seconds.labels(route.name).observe(seconds)
            if refusal is not None and not self._has_room():
                return
        else:
            self._metrics.idle_poll_seconds.observe(seconds)
        if quiet and not self._root_log.isEnabledFor(logging.DEBUG):
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


def _guard_of(request: web.Request) -> Guard | None:
    transport = request.transport
    protocol = None if transport is None else transport.get_protocol()
    return protocol if isinstance(protocol, Guard) else None
