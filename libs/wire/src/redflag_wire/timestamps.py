"""Times on the wire: RFC 3339, UTC, ``Z``. Written with exactly three fraction digits, read with none to six.

In payload models times hold whole milliseconds (cut, not rounded), so that a model equals what its bytes say.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer

from redflag_wire.errors import SchemaRefusedError

_FORM: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?Z"
)
_ZERO: Final = timedelta(0)


def format_timestamp(moment: datetime) -> str:
    """Return the wire form, cut to milliseconds.

    Raises:
        SchemaRefusedError: ``timestamp``: naive, or not in UTC.
    """
    if moment.utcoffset() != _ZERO:
        raise SchemaRefusedError("timestamp", "a time on the wire is aware and in UTC")
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_timestamp(text: str) -> datetime:
    """Return the aware UTC time of a wire form.

    Raises:
        SchemaRefusedError: ``timestamp``: another form, or no such moment.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise SchemaRefusedError("timestamp", "not an RFC 3339 time in UTC with Z")
    year, month, day, hour, minute, second, fraction = match.groups()
    micros = int((fraction or "0").ljust(6, "0"))
    try:
        return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros, UTC)
    except ValueError:
        raise SchemaRefusedError("timestamp", "no such moment") from None


def _read(value: object) -> datetime:
    if isinstance(value, str):
        try:
            moment = parse_timestamp(value)
        except SchemaRefusedError as error:
            raise ValueError(error.detail) from None
    elif isinstance(value, datetime) and value.utcoffset() == _ZERO:
        moment = value.astimezone(UTC)
    else:
        raise ValueError("a time is RFC 3339 text or an aware datetime in UTC")
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


Timestamp = Annotated[datetime, BeforeValidator(_read), PlainSerializer(format_timestamp, when_used="json")]
"""A time in a payload model: aware, UTC, whole milliseconds."""
