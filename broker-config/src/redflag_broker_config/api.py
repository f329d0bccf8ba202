"""Requests to JetStream's JSON API, with every field the server knows.

It guarantees that each request has a deadline and that every failure is one of this package's errors.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
from nats.aio.client import Client

from redflag_broker_config.errors import ApiError, ApiTimeoutError

API_PREFIX = "$JS.API"
DEADLINE_S = 10.0  # making 16 file-backed streams on a slow disk stays far below it
PAGES_MAX = 10_000  # of a listing; far above what a server holds

NOT_FOUND = 404
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014


async def request(
    nc: Client, operation: str, body: object | None = None, deadline_s: float = DEADLINE_S
) -> dict[str, Any]:
    """Send one request and return the answer.

    Args:
        nc: a connection.
        operation: what follows the API prefix in the subject.
        body: the JSON body, if any.
        deadline_s: seconds to wait.

    Raises:
        ApiError: the server refused it.
        ApiTimeoutError: no answer in time, no JetStream there, or no permission.
    """
    payload = b"" if body is None else json.dumps(body).encode()
    try:
        message = await nc.request(f"{API_PREFIX}.{operation}", payload, timeout=deadline_s)
    except (TimeoutError, nats.errors.Error) as error:
        raise ApiTimeoutError(operation, deadline_s) from error
    answer: dict[str, Any] = json.loads(message.data)
    if "error" in answer:
        fault = answer["error"]
        raise ApiError(
            operation, fault.get("code", 0), fault.get("err_code", 0), fault.get("description", "")
        )
    return answer


async def find(nc: Client, operation: str) -> dict[str, Any] | None:
    """Return the answer of an INFO operation, or None where the stream or consumer does not exist.

    Raises:
        ApiError: any other refusal.
        ApiTimeoutError: as for `request`.
    """
    try:
        return await request(nc, operation)
    except ApiError as error:
        if error.err_code in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
            return None
        raise


async def names(nc: Client, operation: str, field: str) -> AsyncIterator[str]:
    """Yield every name of a paged NAMES operation, for example ``STREAM.NAMES`` and its field ``streams``.

    Raises:
        ApiError: the server refused it.
        ApiTimeoutError: as for `request`.
    """
    offset = 0
    for _ in range(PAGES_MAX):
        answer = await request(nc, operation, {"offset": offset})
        page = answer.get(field) or []
        for name in page:
            yield name
        offset += len(page)
        if not page or offset >= answer.get("total", 0):
            return
