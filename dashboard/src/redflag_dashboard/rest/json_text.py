"""How answers become JSON: compact UTF-8, times as RFC 3339, nothing that JSON does not know."""

from pydantic_core import to_json

CONTENT_TYPE = "application/json"


def encode(value: object) -> bytes:
    """`value` (models, mappings, sequences, times, UUIDs) as JSON bytes."""
    return to_json(value, inf_nan_mode="null")
