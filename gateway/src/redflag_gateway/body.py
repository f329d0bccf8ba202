"""Reading a request's body: bounded in bytes, in time and in slowness, and never opened.

The gateway decompresses nothing: a body with a Content-Encoding is refused with 415, and the compressed bodies inside
a report travel on as they are, for the dispatcher to open within bounds. A bomb therefore costs no more than its bytes.
"""

import asyncio
from http import HTTPStatus

from aiohttp import web

from redflag_gateway.errors import MalformedError, Refusal, TooLargeError

DEADLINE_S = 30.0  # for the whole body
GRACE_S = 5.0  # before its pace counts
PACE_BYTES_PER_S = 1024
_PIECE_BYTES = 64 * 1024


def time_for(size: int) -> float:
    """Return the seconds after which more than so many bytes must have come."""
    return min(DEADLINE_S, GRACE_S + size / PACE_BYTES_PER_S)


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the request's body.

    Args:
        request: the request.
        limit: bytes it may have at most.

    Raises:
        TooLargeError: there is more, announced or sent.
        Refusal: 415 for an encoded body, 408 for one that takes too long.
        MalformedError: it broke off.
    """
    if "Content-Encoding" in request.headers:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded", "The body must not be encoded.")
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > limit:
        raise TooLargeError(limit)
    pieces: list[bytes] = []
    size = 0
    try:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(began + time_for(0)) as deadline:
            async for piece in request.content.iter_chunked(_PIECE_BYTES):
                size += len(piece)
                if size > limit:
                    raise TooLargeError(limit)
                pieces.append(piece)
                deadline.reschedule(began + time_for(size))
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "slow_body", "The body did not come in time.") from None
    except web.RequestPayloadError:
        raise MalformedError("body", "The body broke off.") from None
    return b"".join(pieces)
