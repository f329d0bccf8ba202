"""How answers become JSON: compact UTF-8, times as RFC 3339, nothing that JSON does not know."""

from typing import Any, Final

from pydantic import TypeAdapter

CONTENT_TYPE: Final = "application/json"
_ANY: Final[TypeAdapter[Any]] = TypeAdapter(Any)


def encode(value: object) -> bytes:
    """`value` (models, mappings, sequences, times, UUIDs) as JSON bytes."""
    return _ANY.dump_json(value)
