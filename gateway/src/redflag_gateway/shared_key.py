"""The key all gateways share, and one key derived from it per use.

It guarantees that a code made for one use (a nonce, a handle, a challenge) never fits another.
"""

import hashlib
import hmac
from enum import StrEnum

from redflag_ops.errors import ConfigurationError

KEY_MIN_BYTES = 32


class Use(StrEnum):
    """What a derived key is for."""

    NONCE = "redflag-gateway-nonce-v1"
    HANDLE = "redflag-gateway-handle-v1"
    CHALLENGE = "redflag-gateway-challenge-v1"


class SharedKey:
    """Makes and checks authentication codes per use.

    Args:
        raw: the key the gateways share, at least ``KEY_MIN_BYTES``.

    Raises:
        ConfigurationError: the key is too short.
    """

    def __init__(self, raw: bytes) -> None:
        if len(raw) < KEY_MIN_BYTES:
            raise ConfigurationError(f"the gateways' shared key must have at least {KEY_MIN_BYTES} bytes")
        self._keys = {use: hmac.digest(raw, use.encode(), "sha256") for use in Use}

    @classmethod
    def from_hex(cls, text: str) -> "SharedKey":
        """Read the key from the text of its file.

        Raises:
            ConfigurationError: the text is not hexadecimal or the key too short.
        """
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raise ConfigurationError("the gateways' shared key must be written in hexadecimal") from None
        return cls(raw)

    def code(self, use: Use, message: bytes) -> bytes:
        """Return the 16-byte authentication code of a message."""
        return hmac.digest(self._keys[use], message, hashlib.sha256)[:16]

    def fits(self, use: Use, message: bytes, code: bytes) -> bool:
        """Say whether the code was made for this use and message, in constant time."""
        return hmac.compare_digest(self.code(use, message), code)
