"""Public keys. One that is held passed the checks of docs/protocol.md 4: 32 bytes, canonical, not of small order.

Under a small-order key a signature that fits any message can be written down without a private key. There are eight
such points. They are refused when a key is loaded, so that no later code has to think of it, whatever the Ed25519
implementation beneath does.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from redflag_wire import base64_strict
from redflag_wire.errors import Base64RefusedError, KeyRefusedError, SignatureRefusedError

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_P: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255

SMALL_ORDER_KEYS: Final[frozenset[bytes]] = frozenset(
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",  # the neutral element
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # order 2
        "0000000000000000000000000000000000000000000000000000000000000000",  # order 4
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)
"""The canonical encodings of the eight points whose order divides the cofactor (RFC 8032 5.1)."""

# With x = 0 the sign bit means nothing: these two spellings of the first two points exist as well.
_SMALL_ORDER_RESPELT: Final = frozenset(key[:31] + bytes([key[31] | 0x80]) for key in SMALL_ORDER_KEYS)


def _check(raw: bytes) -> None:
    if len(raw) != PUBLIC_KEY_BYTES:
        raise KeyRefusedError("key_length", f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes")
    if raw in SMALL_ORDER_KEYS or raw in _SMALL_ORDER_RESPELT:
        raise KeyRefusedError("small_order_key", "a key anyone can sign for")
    if int.from_bytes(raw, "little") & (_SIGN_BIT - 1) >= _P:
        # The other spellings of small-order points are among these; no honest key is.
        raise KeyRefusedError("key_not_canonical", "a coordinate beyond the field")


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key that passed the load checks. Equal when the bytes are equal.

    Attributes:
        raw: the 32 bytes.

    Raises:
        KeyRefusedError: ``key_length``, ``small_order_key``, ``key_not_canonical``.
    """

    raw: bytes = field()

    def __post_init__(self) -> None:
        _check(self.raw)

    @cached_property
    def keyid(self) -> str:
        """``ed25519:<hex sha256 of raw>``; a hint in envelopes (docs/protocol.md 2)."""
        return "ed25519:" + hashlib.sha256(self.raw).hexdigest()

    @cached_property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint in base64url: ``akt`` in payloads, ``keyid`` of HTTP signatures."""
        jwk = '{"crv":"Ed25519","kty":"OKP","x":"' + base64_strict.encode_url(self.raw) + '"}'
        return base64_strict.encode_url(hashlib.sha256(jwk.encode("ascii")).digest())

    def to_b64(self) -> str:
        """Return the 32 bytes in standard base64."""
        return base64_strict.encode(self.raw)

    @classmethod
    def from_b64(cls, text: str) -> "PublicKey":
        """Return the key of standard base64 text.

        Raises:
            KeyRefusedError: as the class, and ``key_base64`` for text that is not strict base64.
        """
        try:
            return cls(base64_strict.decode(text))
        except Base64RefusedError as error:
            raise KeyRefusedError("key_base64", error.detail) from None

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return when ``signature`` is this key's over ``message``.

        Raises:
            SignatureRefusedError: ``signature_length``, or ``signature`` when it does not fit.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise SignatureRefusedError(
                "signature_length", f"an Ed25519 signature has {SIGNATURE_BYTES} bytes"
            )
        try:
            self._verifier.verify(message, signature)
        except BadSignatureError:
            raise SignatureRefusedError("signature", "the signature does not fit") from None

    @cached_property
    def _verifier(self) -> VerifyKey:
        return VerifyKey(self.raw)
