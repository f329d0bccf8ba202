"""Identities: UUIDs of version 7 (RFC 9562), so that ids sort by the time they were made.

``parse_id`` takes the canonical text only (lower case, hyphens): one id has one spelling, so text can be compared.
"""

import re
import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from redflag_wire.clock import Clock
from redflag_wire.errors import SchemaRefusedError

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_RANDOM_BYTES: Final = 10  # 74 of these 80 bits are used


def new_id(clock: Clock, random: Callable[[int], bytes] = secrets.token_bytes) -> UUID:
    """Return a new UUIDv7: 48 bits of milliseconds, 74 random bits.

    Args:
        clock: gives the milliseconds.
        random: gives that many random bytes.
    """
    ms = int(clock.now().timestamp() * 1000) & ((1 << 48) - 1)
    noise = int.from_bytes(random(_RANDOM_BYTES), "big")
    rand_a = noise >> 68
    rand_b = noise & ((1 << 62) - 1)
    return UUID(int=ms << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b)


def parse_id(text: str) -> UUID:
    """Return the UUID of its canonical text.

    Raises:
        SchemaRefusedError: ``id``: any other spelling, or no UUID.
    """
    if _CANONICAL.fullmatch(text) is None:
        raise SchemaRefusedError("id", "not a UUID in its canonical spelling")
    return UUID(text)
