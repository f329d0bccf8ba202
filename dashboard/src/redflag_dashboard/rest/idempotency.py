"""Creates that may be sent twice: the `Idempotency-Key` header.

A key belongs to the API key that sent it and to one request (method, path, query, body): the same again gets the
stored answer, another request with it is refused. An answer that held a secret is remembered without it.
"""

import hashlib
import json
import re
from typing import Any, Final

from aiohttp import web

from redflag_dashboard.rest import json_text
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call
from redflag_store.queries import idempotency

HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"
_KEY: Final = re.compile(r"[!-~]{1,128}")
_MEMORY_MAX_BYTES: Final = 256 * 1024


def key_of(request: web.Request) -> str | None:
    """The request's idempotency key.

    Raises:
        ProblemError: `malformed_request`.
    """
    values = request.headers.getall(HEADER, [])
    if not values:
        return None
    if len(values) > 1 or _KEY.fullmatch(values[0]) is None:
        raise ProblemError(
            ProblemCode.MALFORMED_REQUEST, f"{HEADER} is one header of 1 to 128 visible ASCII characters"
        )
    return values[0]


def request_digest(request: web.Request, body: bytes) -> str:
    """What tells requests apart."""
    head = f"{request.method}\n{request.path_qs}\n".encode("utf-8", "surrogatepass")
    return "sha256:" + hashlib.sha256(head + body).hexdigest()


async def answer_once(
    call: Call[Any, Any, Any], route: AnyRoute, key: str, digest: str
) -> tuple[Answer | None, web.Response | None]:
    """Run the handler once for a key: its answer, or the response stored for it. The caller commits.

    Raises:
        ProblemError: `idempotency_mismatch`, `idempotency_in_flight`, or the handler's own.
    """
    owner = "" if call.who is None else str(call.who.key_id)
    stored = await idempotency.claim(call.tx, owner, key, digest, call.parts.clock.now())
    if stored is not None:
        return None, _replay(stored, digest)
    answer = await route.handler(call)
    memory = json_text.encode(answer.remembered or answer.body)
    if len(memory) <= _MEMORY_MAX_BYTES:
        kept = {"body": json.loads(memory), "headers": answer.headers}
        await idempotency.remember(call.tx, owner, key, answer.status, kept)
    return answer, None


def _replay(stored: idempotency.Remembered, digest: str) -> web.Response:
    if stored.request_digest != digest:
        raise ProblemError(
            ProblemCode.IDEMPOTENCY_MISMATCH, f"choose another {HEADER}: this one stands for another request"
        )
    if stored.status is None or stored.response is None:
        raise ProblemError(
            ProblemCode.IDEMPOTENCY_IN_FLIGHT, "its answer is not there yet", headers={"Retry-After": "1"}
        )
    return web.Response(
        status=stored.status,
        body=json_text.encode(stored.response["body"]),
        content_type=json_text.CONTENT_TYPE,
        headers={**stored.response["headers"], REPLAYED_HEADER: "true"},
    )
