"""What happens around every request: correlation id, one log record, metrics, headers, and errors as problems.

Guarantees: each request is one record `http.request` and one count; an exception nobody foresaw is logged with
its stack and answered with `internal` and the correlation id to look for, and with nothing of what went wrong;
security headers are on every answer, whoever made it.
"""

import asyncio
from typing import Final

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.exc import DBAPIError

from redflag_dashboard.changes import TooManyWaitingError
from redflag_dashboard.parts import Parts
from redflag_dashboard.rest import context
from redflag_dashboard.rest.problems import ProblemCode, ProblemError, problem_response
from redflag_ops.logging import get_logger
from redflag_store.queries.transient import TRANSIENT

UNMATCHED: Final = "unmatched"
CLOSED_BY_CLIENT: Final = 499  # counted and logged; nobody is there to be answered

_HTTP_CODES: Final = {
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    413: ProblemCode.BODY_TOO_LARGE,
    417: ProblemCode.EXPECTATION_FAILED,
}
_HTTP_DETAILS: Final = {
    404: "no route has this path; /api/v1/openapi.json lists them",
    405: "the Allow header names the methods that are",
    413: "send less at once",
    417: "send the request without Expect",
}

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Ignored by browsers on plain http, in force behind a proxy that speaks TLS.
    "Strict-Transport-Security": "max-age=31536000",
}
"""On every answer; a page that needs less than nothing sets its own policy first."""


async def set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the security headers on an answer that is about to be sent."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers[hdrs.SERVER] = "redflag"


def _as_problem(error: Exception) -> ProblemError | None:
    """The problem a foreseen exception stands for; None for one nobody foresaw."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, web.HTTPException) and error.status in _HTTP_CODES:
        allow = error.headers.get(hdrs.ALLOW)
        return ProblemError(
            _HTTP_CODES[error.status],
            _HTTP_DETAILS[error.status],
            headers={hdrs.ALLOW: allow} if allow else None,
        )
    if isinstance(error, TooManyWaitingError):
        return ProblemError(
            ProblemCode.TOO_MANY_WAITING, "ask again without wait", headers={"Retry-After": "5"}
        )
    return None


_AWAY: Final = tuple(kind for kind in TRANSIENT if kind is not DBAPIError)
_AWAY_CLASSES: Final = frozenset({"08", "28", "3D", "40", "53", "55", "57"})
"""Classes of SQLSTATE that say nothing about the statement: connection, login, database, conflict, resources,
locks and time limits, operator intervention."""


def _is_database_away(error: Exception) -> bool:
    if isinstance(error, _AWAY):
        return True
    refused = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(refused, "sqlstate", None) or ""
    return state[:2] in _AWAY_CLASSES or getattr(error, "connection_invalidated", False)


def around(parts: Parts) -> Middleware:
    """The middleware; outermost and only one."""
    log = get_logger()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = parts.clock.monotonic()
        op = context.begin(request, parts.clock)
        resource = request.match_info.route.resource
        route = UNMATCHED if resource is None else resource.canonical
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(op=str(op))
        status, code = CLOSED_BY_CLIENT, None
        try:
            try:
                response = await handler(request)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                problem = _as_problem(error)
                if problem is None and _is_database_away(error):
                    log.warning("database.unavailable", error=type(error).__name__)
                    problem = ProblemError(
                        ProblemCode.DATABASE_UNAVAILABLE,
                        "nothing was changed; try again in a moment",
                        headers={"Retry-After": "2"},
                    )
                if problem is None:
                    log.exception("http.failed")
                    problem = ProblemError(
                        ProblemCode.INTERNAL, f"the dashboard's log says more; look for {op}"
                    )
                code = str(problem.code)
                response = problem_response(problem, op)
            status = response.status
            response.headers[context.HEADER] = str(op)
            return response
        finally:
            seconds = parts.clock.monotonic() - began
            parts.metrics.answered(request.method, route, status, seconds)
            log.info(
                "http.request",
                method=request.method,
                route=route,
                path=request.path,
                status=status,
                code=code,
                ms=round(seconds * 1000, 1),
                peer=request.remote,
            )

    return middleware
