"""The opaque `next` of a page: the sort key of its last row, so that rows that come and go shift nothing.

A cursor is only a place to go on from. It gives no right to see anything, so it is not signed; one that was
tampered with is refused or starts elsewhere in the same list.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from redflag_dashboard.rest import json_text
from redflag_dashboard.rest.problems import ProblemCode, ProblemError

CURSOR_MAX: Final = 2048  # characters

KeyT = TypeVar("KeyT", bound=tuple[object, ...])

NAME_KEY: Final = TypeAdapter(tuple[str, UUID])
"""A name, then the id that tells equal names apart."""
TIME_KEY: Final = TypeAdapter(tuple[datetime, UUID])
"""A time, then the id that tells equal times apart."""
UPDATE_KEY: Final = TypeAdapter(tuple[str, str, str, UUID])
"""Package name, manager, architecture, host id."""
POSITION_KEY: Final = TypeAdapter(tuple[int])
"""A place in a numbered list."""
TOKEN_KEY: Final = TypeAdapter(tuple[datetime, str])
"""A time, then the id of a token."""


def encode(key: Sequence[object]) -> str:
    """The cursor that stands for `key`."""
    return urlsafe_b64encode(json_text.encode(list(key))).rstrip(b"=").decode("ascii")


def decode(cursor: str | None, adapter: TypeAdapter[KeyT]) -> KeyT | None:
    """The key a cursor stands for; None for no cursor.

    Raises:
        ProblemError: `invalid_request`, when it is not one this list gave out.
    """
    if cursor is None:
        return None
    try:
        data = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        key = adapter.validate_json(data, strict=True)
    except (ValidationError, binascii.Error, UnicodeEncodeError, ValueError):
        raise _refused() from None
    for part in key:
        if (isinstance(part, str) and "\x00" in part) or (isinstance(part, datetime) and part.tzinfo is None):
            raise _refused()
    return key


def _refused() -> ProblemError:
    return ProblemError(
        ProblemCode.INVALID_REQUEST,
        "query/cursor: not a cursor of this list; begin again without one",
        extra={"errors": [{"where": "query/cursor", "message": "not a cursor of this list"}]},
    )
