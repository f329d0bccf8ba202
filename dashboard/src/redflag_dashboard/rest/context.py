"""The correlation id of a request: given by the client or made here, answered, logged, and on the wire as `op`."""

from typing import Final
from uuid import UUID

from aiohttp import web

from redflag_wire.clock import Clock
from redflag_wire.errors import WireError
from redflag_wire.ids import new_id, parse_id

HEADER: Final = "RF-Correlation-Id"
_OP: Final[web.RequestKey[UUID]] = web.RequestKey("op", UUID)


def begin(request: web.Request, clock: Clock) -> UUID:
    """Take the client's id when it is a UUID in canonical form, else make one; remember it with the request."""
    try:
        op = parse_id(request.headers.get(HEADER, ""))
    except WireError:
        op = new_id(clock)
    request[_OP] = op
    return op


def correlation_id(request: web.Request) -> UUID:
    """The id remembered by `begin`."""
    return request[_OP]
