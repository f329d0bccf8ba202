"""What all payload models share: closed, frozen, strict, one compact byte form.

Reading is two steps, always in this order: ``strict_json`` over the bytes, then the closed schema. pydantic's own JSON
parser is never used, since it is another parser with other opinions. A payload read from bytes must name every field,
nullable ones included: there is one way to say "nothing".
"""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from redflag_wire import limits, strict_json
from redflag_wire.errors import JsonRefusedError, SchemaRefusedError
from redflag_wire.payload_types import PayloadType

_SHOWN_FAULTS = 3  # faults named in a refusal's detail


def schema_refused(error: ValidationError) -> SchemaRefusedError:
    """Return the refusal of a model's fault: places and kinds of the first few, never the peer's values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    named = "; ".join(
        ".".join(str(step)[:40] for step in fault["loc"][:6]) + ": " + fault["msg"]
        for fault in faults[:_SHOWN_FAULTS]
    )
    return SchemaRefusedError("schema", f"{len(faults)} fault(s): {named}")


class WireModel(BaseModel):
    """A closed, frozen, strict model: unknown keys and coercions are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, revalidate_instances="never", hide_input_in_errors=True
    )

    def to_bytes(self) -> bytes:
        """Return compact JSON with the fields in the order of the class."""
        return strict_json.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the model of strict JSON bytes.

        Raises:
            SchemaRefusedError: ``schema``, or the code of the strict parser with ``json_`` before it.
        """
        return cls.from_object(load_object(data))

    @classmethod
    def from_object(cls, found: object) -> Self:
        """Return the model of a parsed JSON value.

        Raises:
            SchemaRefusedError: ``schema``.
        """
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise schema_refused(error) from None


class Payload(WireModel):
    """The payload of an envelope.

    A fault raises ``SchemaRefusedError`` (code ``schema``) from the constructor and ``model_validate`` of a dictionary
    as well, so that a program that makes payloads meets the same family as one that reads them.
    """

    payload_type: ClassVar[PayloadType]
    """The one type an envelope of this payload has."""

    def __init__(self, /, **data: Any) -> None:  # noqa: ANN401 - the schema decides
        # Not a validator: one inherited from here would run inside those of the subclass and miss their faults.
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise schema_refused(error) from None

    @classmethod
    def from_object(cls, found: object) -> Self:
        """Return the payload of a parsed JSON value that names every field.

        Raises:
            SchemaRefusedError: ``schema``.
        """
        if isinstance(found, dict):
            missing = [name for name in cls.model_fields if name not in found]
            if missing:
                raise SchemaRefusedError("schema", f"{len(missing)} fault(s): missing {', '.join(missing)}")
        return super().from_object(found)


def load_object(
    data: bytes,
    *,
    max_keys: int = limits.JSON_MAX_KEYS,
    integers_only: bool = True,
    max_string_bytes: int = limits.STRING_MAX_BYTES,
    allow_nul: bool = False,
) -> dict[str, Any]:
    """Parse strict JSON that must be an object.

    Raises:
        SchemaRefusedError: ``json_<code of the parser>``, or ``schema`` when it is no object.
    """
    try:
        found = strict_json.loads(
            data,
            max_keys=max_keys,
            integers_only=integers_only,
            max_string_bytes=max_string_bytes,
            allow_nul=allow_nul,
        )
    except JsonRefusedError as error:
        raise SchemaRefusedError(f"json_{error.code}", error.detail) from None
    if not isinstance(found, dict):
        raise SchemaRefusedError("schema", "not an object")
    return found
