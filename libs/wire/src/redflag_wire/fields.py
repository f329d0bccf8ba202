"""The types of single fields in payload models: strict, bounded, with one spelling each.

No coercion: ``"1"`` is no number, ``true`` is no number, a UUID has its canonical spelling. Each text is checked once,
here, for what would hurt later: U+0000 that a database refuses, control and bidirectional signs that deceive a reader
(docs/protocol.md 2).
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, StringConstraints

from redflag_wire import base64_strict, limits
from redflag_wire.errors import WireError
from redflag_wire.ids import parse_id
from redflag_wire.keys import PUBLIC_KEY_BYTES, PublicKey

NONCE_BYTES: Final = 16
SECRET_BYTES: Final = 32
THUMBPRINT_BYTES: Final = 32

_PLAIN: Final = re.compile(r"[ -~]*")
# C0, DEL and C1, the marks, embeddings, overrides and isolates that reorder text, line and paragraph separators.
_DECEIVING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def _uuid(value: object) -> object:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise ValueError("an id is a UUID")  # noqa: TRY004 - pydantic catches ValueError only
    try:
        return parse_id(value)
    except WireError as error:
        raise ValueError(error.detail) from None


def _no_bool(value: object) -> object:
    # True equals 1, and pydantic's Literal goes by equality.
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a schema version is an integer")  # noqa: TRY004 - pydantic catches ValueError only
    return value


def _fleet(value: str) -> str:
    _uuid(value)
    return value


def _bounded(max_bytes: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if len(value) > max_bytes or len(value.encode("utf-8")) > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        return value

    return check


def _readable(value: str) -> str:
    if _PLAIN.fullmatch(value) is None:
        if _DECEIVING.search(value) is not None:
            raise ValueError("control or direction signs")
        if not unicodedata.is_normalized("NFC", value):
            raise ValueError("not in normal form C")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("U+0000 in a text")
    return value


def _base64(length: int | None) -> Callable[[str], str]:
    def check(value: str) -> str:
        try:
            data = base64_strict.decode(value)
        except WireError as error:
            raise ValueError(error.detail) from None
        if length is not None and len(data) != length:
            raise ValueError(f"{len(data)} bytes where {length} are expected")
        return value

    return check


def _public_key(value: str) -> str:
    try:
        PublicKey.from_b64(value)
    except WireError as error:
        raise ValueError(str(error)) from None
    return value


def _thumbprint(value: str) -> str:
    try:
        data = base64_strict.decode_url(value)
    except WireError as error:
        raise ValueError(error.detail) from None
    if len(data) != THUMBPRINT_BYTES:
        raise ValueError(f"a thumbprint has {THUMBPRINT_BYTES} bytes")
    return value


Id = Annotated[UUID, BeforeValidator(_uuid)]
"""A UUID; on the wire its canonical text."""

SchemaVersion = Annotated[Literal[1], BeforeValidator(_no_bool)]
"""The ``v`` of a payload: 1, and never ``true``."""

FleetId = Annotated[str, AfterValidator(_fleet)]
"""The installation's id: the canonical text of a UUID, kept as text."""

Version = Annotated[int, Field(strict=True, ge=1, lt=limits.INTEGER_LIMIT)]
"""A number that counts from 1."""

Count = Annotated[int, Field(strict=True, ge=0, lt=limits.INTEGER_LIMIT)]
"""A number that is not negative."""

Integer = Annotated[int, Field(strict=True, gt=-limits.INTEGER_LIMIT, lt=limits.INTEGER_LIMIT)]
"""Any integer of the wire."""

Name = Annotated[
    str,
    StringConstraints(min_length=1),
    AfterValidator(_bounded(limits.NAME_MAX_BYTES)),
    AfterValidator(_readable),
]
"""1 to 256 bytes of readable text in normal form C: packages, versions, hosts, people."""

Line = Annotated[str, AfterValidator(_bounded(limits.LINE_MAX_BYTES)), AfterValidator(_readable)]
"""At most 2 KiB of readable text, one line; may be empty."""

Output = Annotated[str, AfterValidator(_bounded(limits.OUTPUT_MAX_BYTES)), AfterValidator(_no_nul)]
"""What a program printed, its middle cut out; any signs but U+0000. Whoever shows it cleans it."""

Code = Annotated[str, StringConstraints(pattern=r"\A[a-z][a-z0-9_]{0,63}\z")]
"""A stable code: snake case, at most 64 characters."""

Manager = Annotated[str, StringConstraints(pattern=r"\A[a-z][a-z0-9_-]{0,31}\z")]
"""The name of a package manager or subsystem."""

Digest = Annotated[str, StringConstraints(pattern=r"\Asha256:[0-9a-f]{64}\z")]
"""``sha256:<hex>``."""

Sha256Hex = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
"""64 lower-case hexadecimal digits."""

TokenId = Annotated[str, StringConstraints(pattern=r"\A[a-z2-7]{10}\z")]
"""The public part of an enrolment token."""

Challenge = Annotated[str, StringConstraints(pattern=r"\A[!-~]{1,256}\z")]
"""What the gateway asked to have signed: visible ASCII, at most 256 bytes."""

AccessToken = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_.-]{1,4096}\z")]
"""A JWT in compact form, at most 4 KiB; verified elsewhere."""

Base64 = Annotated[str, AfterValidator(_base64(None))]
"""Strict base64 of any bytes; kept as text."""

NonceText = Annotated[str, AfterValidator(_base64(NONCE_BYTES))]
"""Strict base64 of 16 bytes."""

SecretText = Annotated[str, AfterValidator(_base64(SECRET_BYTES))]
"""Strict base64 of 32 bytes."""

PublicKeyText = Annotated[
    str, StringConstraints(max_length=4 * (PUBLIC_KEY_BYTES + 2) // 3), AfterValidator(_public_key)
]
"""Strict base64 of a public key that passes the load checks."""

Thumbprint = Annotated[str, AfterValidator(_thumbprint)]
"""The RFC 7638 thumbprint of a key, base64url."""

JsonObject = Annotated[dict[str, JsonValue], Field(max_length=limits.FACTS_MAX_KEYS)]
"""A small free-form object: facts, event data, parameters before their own schema."""
