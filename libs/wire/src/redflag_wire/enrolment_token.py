"""The enrolment token: ``rfe1_<id10>_<seed52>_<rootfp52>``, lower-case base32 without padding (docs/protocol.md 8.1).

The seed is a private key that never crosses the wire: the server keeps its public half. The root fingerprint tells the
new host which manifest to trust, so nothing is trusted on first use. A token is a secret: ``repr`` shows its id alone.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from redflag_wire.errors import TokenRefusedError
from redflag_wire.keys import PublicKey
from redflag_wire.signing import SEED_BYTES, SigningKey

TOKEN_ID_CHARS: Final = 10
FINGERPRINT_BYTES: Final = 32
_ID_RANDOM_BYTES: Final = 7  # 56 bits, of which ten characters show 50
_FORM: Final = re.compile(r"rfe1_([a-z2-7]{10})_([a-z2-7]{52})_([a-z2-7]{52})")
_ID: Final = re.compile(r"[a-z2-7]{10}")


@dataclass(frozen=True)
class EnrolmentToken:
    """A right to enrol.

    Attributes:
        token_id: ten characters; names the token in lists and logs.
        seed: 32 secret bytes.
        rootfp: 32 bytes, ``manifest.root_fingerprint`` of the first manifest.

    Raises:
        TokenRefusedError: ``token_parts``.
    """

    token_id: str
    seed: bytes = field(repr=False)
    rootfp: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if _ID.fullmatch(self.token_id) is None:
            raise TokenRefusedError("token_parts", f"a token id has {TOKEN_ID_CHARS} base32 characters")
        if len(self.seed) != SEED_BYTES or len(self.rootfp) != FINGERPRINT_BYTES:
            raise TokenRefusedError("token_parts", "seed and root fingerprint have 32 bytes each")

    @classmethod
    def mint(cls, random: Callable[[int], bytes], rootfp: bytes) -> "EnrolmentToken":
        """Return a new token.

        Args:
            random: gives that many bytes from a cryptographic source.
            rootfp: fingerprint of the first manifest's roots.
        """
        return cls(_encode(random(_ID_RANDOM_BYTES))[:TOKEN_ID_CHARS], random(SEED_BYTES), rootfp)

    @classmethod
    def parse(cls, text: str) -> "EnrolmentToken":
        """Return the token of its text; white space around it is not accepted.

        Raises:
            TokenRefusedError: ``token_form``; the detail never shows the text.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise TokenRefusedError(
                "token_form", "an enrolment token is rfe1_, 10, 52 and 52 base32 characters"
            )
        return cls(match[1], _decode(match[2]), _decode(match[3]))

    def to_text(self) -> str:
        """Return the token's text. It is a secret."""
        return f"rfe1_{self.token_id}_{_encode(self.seed)}_{_encode(self.rootfp)}"

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key whose signature proves the right to join."""
        return SigningKey.from_seed(self.seed)

    @property
    def public(self) -> PublicKey:
        """The half the server keeps."""
        return self.signing_key.public


def _encode(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _decode(text: str) -> bytes:
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        raise TokenRefusedError("token_form", "not base32") from None
    if _encode(data) != text:  # the spare bits of the last character must be zero: one token, one text
        raise TokenRefusedError("token_form", "not the canonical base32 spelling")
    return data
