"""aiohttp's protocol of one connection, with this gateway's own words where aiohttp answers by itself.

A head that is no HTTP, an expectation nobody meets and a target no route can have never reach `edge`. They too are
answered with a problem, close the connection, and tell nothing of what the gateway is made of.
"""

from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from redflag_gateway.errors import Refusal
from redflag_gateway.problems import problem_response

SERVER: Final = "redflag"


class HttpProtocol(RequestHandler):
    """Answers what aiohttp refuses before a route is found."""

    __slots__ = ()

    def handle_error(  # noqa: D102
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # It logs, which counts, and it knows whether an answer has begun already; its text would quote the parser.
        super().handle_error(request, status, exc, message)
        if status == HTTPStatus.BAD_REQUEST:
            return _closing(Refusal(HTTPStatus.BAD_REQUEST, "not_http", "This is no HTTP request."))
        return _closing(Refusal(HTTPStatus(status), "internal", "The gateway failed."))

    def finish_response(  # noqa: D102
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        if isinstance(resp, web.HTTPException):
            status = HTTPStatus(resp.status)
            known = status is HTTPStatus.NOT_FOUND
            code, detail = (
                ("not_found", "There is no such call.") if known else ("not_served", "Nobody serves this.")
            )
            resp = _closing(Refusal(status, code, detail))
        resp.headers["Server"] = SERVER
        return super().finish_response(request, resp, start_time)


def _closing(refusal: Refusal) -> web.Response:
    response = problem_response(refusal)
    response.force_close()
    return response
