"""Reading a request's body: bounded in bytes and in time, and never decompressed on the way."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from redflag_gateway.errors import MalformedError, Refusal, TooLargeError

DEADLINE_S = 30.0  # for the whole body
_PIECE_BYTES = 64 * 1024


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
        async with asyncio.timeout(DEADLINE_S):
            async for piece in request.content.iter_chunked(_PIECE_BYTES):
                size += len(piece)
                if size > limit:
                    raise TooLargeError(limit)
                pieces.append(piece)
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "slow_body", "The body did not come in time.") from None
    except web.RequestPayloadError:
        raise MalformedError("body", "The body broke off.") from None
    return b"".join(pieces)
