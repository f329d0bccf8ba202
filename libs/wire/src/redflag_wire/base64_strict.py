"""Base64 with exactly one spelling for any bytes.

Python's decoder ignores junk by default and accepts non-canonical tails even when told to validate (``YWJ=`` and
``YWI=`` both give ``ab``), so every decoding here must encode to the very text it came from (docs/protocol.md 2).
"""

import base64
import binascii

from redflag_wire.errors import Base64RefusedError


def encode(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of standard, padded, canonical base64.

    Raises:
        Base64RefusedError: ``base64``: any other text.
    """
    return _decode(text, text, b"+/")


def encode_url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_url(text: str) -> bytes:
    """Return the bytes of unpadded, canonical base64url.

    Raises:
        Base64RefusedError: ``base64``: any other text.
    """
    if not isinstance(text, str):
        raise Base64RefusedError("base64", "not text")
    return _decode(text, text + "=" * (-len(text) % 4), b"-_")


def _decode(text: str, padded: str, extra: bytes) -> bytes:
    try:
        data = base64.b64decode(padded.encode("ascii"), altchars=extra, validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error, ValueError):
        raise Base64RefusedError("base64", "not base64 of the expected alphabet and padding") from None
    # The decoder leaves the last spare bits unlooked at: only a comparison with the one right spelling holds.
    again = base64.b64encode(data, altchars=extra).decode("ascii")
    if again != padded or (extra == b"-_" and "=" in text):
        raise Base64RefusedError("base64", "not the canonical spelling")
    return data
