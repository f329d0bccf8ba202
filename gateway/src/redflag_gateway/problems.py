"""Refusals as agents see them: ``application/problem+json`` (RFC 9457) with a stable ``code``."""

import json

from aiohttp import web

from redflag_gateway.errors import Refusal

CONTENT_TYPE = "application/problem+json"


def problem_response(refusal: Refusal) -> web.Response:
    """Return the answer for a refusal."""
    headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == web.HTTPUnauthorized.status_code:
        headers["WWW-Authenticate"] = "Bearer"
    body = {
        "type": "about:blank",
        "title": refusal.status.phrase,
        "status": refusal.status.value,
        "code": refusal.code,
        "detail": refusal.detail,
    }
    return web.Response(
        status=refusal.status.value,
        body=json.dumps(body).encode(),
        content_type=CONTENT_TYPE,
        headers=headers,
    )
