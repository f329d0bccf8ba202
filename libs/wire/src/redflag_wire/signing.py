"""Private keys and the act of signing. Import this only where the import rules allow it (ARCHITECTURE.md).

A key file is one line, ``redflag-key-v1 <use> <base64 seed>``, and is read for exactly the use it names: a command
key put in the beacon's place is refused at start. Neither ``repr`` nor any error shows a seed.
"""

import hmac
from collections.abc import Callable
from functools import cached_property
from typing import Final

import nacl.signing

from redflag_wire import base64_strict, limits
from redflag_wire.envelope import Envelope, Signature, pae
from redflag_wire.errors import Base64RefusedError, KeyRefusedError
from redflag_wire.keys import PublicKey
from redflag_wire.payload_types import PayloadType, SignerRole

SEED_BYTES: Final = 32
_MAGIC: Final = "redflag-key-v1"


class SigningKey:
    """An Ed25519 private key, held as its 32-byte seed. Two are equal when their seeds are.

    Raises:
        KeyRefusedError: ``seed_length``.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise KeyRefusedError("seed_length", f"a seed has {SEED_BYTES} bytes")
        self._seed = seed
        self._signer = nacl.signing.SigningKey(seed)

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> "SigningKey":
        """Return a new key; ``random`` gives that many bytes from a cryptographic source."""
        return cls(random(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """Return the key of a 32-byte seed.

        Raises:
            KeyRefusedError: ``seed_length``.
        """
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return self._seed

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(bytes(self._signer.verify_key))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over ``message``."""
        return bytes(self._signer.sign(message).signature)

    def to_text(self, use: SignerRole | str) -> str:
        """Return the key file's one line, newline included."""
        return f"{_MAGIC} {SignerRole(use).value} {base64_strict.encode(self._seed)}\n"

    @classmethod
    def from_text(cls, text: str, use: SignerRole | str) -> "SigningKey":
        """Return the key of a key file.

        Args:
            text: the file's content.
            use: the use it is read for.

        Raises:
            KeyRefusedError: ``key_file`` for another form, ``key_use`` when it is for another use.
        """
        parts = text.removesuffix("\n").split(" ") if len(text) <= limits.KEY_FILE_MAX_CHARS else []
        if len(parts) != 3 or parts[0] != _MAGIC:  # noqa: PLR2004 - magic, use, seed
            raise KeyRefusedError("key_file", f"a key file is one line: {_MAGIC} <use> <base64 seed>")
        wanted = SignerRole(use).value
        if parts[1] != wanted:
            raise KeyRefusedError("key_use", f"a key for {parts[1]!r} where one for {wanted!r} is needed")
        try:
            return cls(base64_strict.decode(parts[2]))
        except Base64RefusedError:
            raise KeyRefusedError("key_file", "the seed is not strict base64") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and hmac.compare_digest(self._seed, other._seed)

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.keyid})"


def sign_envelope(payload_type: PayloadType, payload: bytes, *keys: SigningKey) -> Envelope:
    """Return the envelope of ``payload``, signed by each of ``keys`` in order.

    Raises:
        KeyRefusedError: ``no_key``, or ``key_twice`` when one key is named twice.
        EnvelopeRefusedError: ``too_large``: no reader would take it.
    """
    if not keys:
        raise KeyRefusedError("no_key", "an envelope needs a signature")
    if len({key.public for key in keys}) != len(keys):
        raise KeyRefusedError("key_twice", "a key signs an envelope once")
    message = pae(payload_type.value, payload)
    envelope = Envelope(
        payload=payload,
        payload_type=payload_type.value,
        signatures=tuple(Signature(key.public.keyid, key.sign(message)) for key in keys),
    )
    envelope.to_bytes()  # size is the signer's to hold: refused here, not by every reader later
    return envelope
