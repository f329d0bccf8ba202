"""DSSE envelopes: made, parsed strictly, and verified over the bytes as they came (docs/protocol.md 2).

Invariants:
- The payload's bytes are never parsed here. Nothing reads a payload before a signature over it fits.
- ``Verified`` is made by ``verify_envelope`` alone. A function that takes one needs no check of its own.
- ``keyid`` only orders the attempts. No decision depends on it.
- The payload type is inside the signed bytes: an envelope of one type never passes for another.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from redflag_wire import base64_strict, limits, strict_json
from redflag_wire.errors import (
    Base64RefusedError,
    EnvelopeRefusedError,
    JsonRefusedError,
    SignatureRefusedError,
)
from redflag_wire.keys import SIGNATURE_BYTES, PublicKey
from redflag_wire.payload_types import PayloadType

_ENVELOPE_KEYS = {"payload", "payloadType", "signatures"}
_SIGNATURE_KEYS = {"keyid", "sig"}


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes a signature covers: DSSE's pre-authentication encoding, lengths in bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def digest(data: bytes) -> str:
    """Return ``sha256:<hex>`` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of an envelope, not checked.

    Attributes:
        keyid: a hint which key made it; never trusted.
        sig: the 64 bytes.
    """

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope of the right form. Nothing in it is believed yet.

    Attributes:
        payload: the bytes exactly as first written.
        payload_type: the media type; may be one this library does not know.
        signatures: 1 to ``limits.ENVELOPE_MAX_SIGNATURES``.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_object(self) -> dict[str, Any]:
        """Return the JSON object of the wire form, for answers that hold envelopes inside."""
        return {
            "payload": base64_strict.encode(self.payload),
            "payloadType": str(self.payload_type),
            "signatures": [
                {"keyid": one.keyid, "sig": base64_strict.encode(one.sig)} for one in self.signatures
            ],
        }

    def to_bytes(self) -> bytes:
        """Return the wire form.

        Raises:
            EnvelopeRefusedError: ``too_large``: no reader would take it.
        """
        data = strict_json.dumps(self.to_object())
        if len(data) > limits.ENVELOPE_MAX_BYTES:
            raise EnvelopeRefusedError("too_large", f"{len(data)} bytes, at most {limits.ENVELOPE_MAX_BYTES}")
        return data


@dataclass(frozen=True, slots=True, init=False)
class Verified:
    """Proof that a signature over these bytes fits. Only ``verify_envelope`` makes one.

    Calling the class, copying it with changes and unpickling it are errors, on purpose: whoever holds a ``Verified``
    knows where it came from.

    Attributes:
        payload: the verified bytes.
        payload_type: their type, the one that was expected.
        key: the key whose signature fits.
    """

    payload: bytes
    payload_type: PayloadType
    key: PublicKey

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise TypeError("only verify_envelope makes a Verified")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Verified does not leave the process it was made in")


def parse_envelope(data: bytes) -> Envelope:
    """Parse the wire form strictly: exactly the known keys, strict base64, bounded.

    Raises:
        EnvelopeRefusedError: ``too_large``, ``json``, ``keys``, ``types``, ``base64``, ``payload_type_form``,
            ``keyid_form``, ``signature_count``, ``signature_length``.
    """
    if len(data) > limits.ENVELOPE_MAX_BYTES:
        raise EnvelopeRefusedError("too_large", f"{len(data)} bytes, at most {limits.ENVELOPE_MAX_BYTES}")
    try:
        found = strict_json.loads(
            data,
            max_depth=limits.ENVELOPE_JSON_MAX_DEPTH,
            max_keys=limits.ENVELOPE_JSON_MAX_KEYS,
            integers_only=True,
            max_string_bytes=limits.ENVELOPE_MAX_BYTES,
        )
    except JsonRefusedError as error:
        raise EnvelopeRefusedError("json", str(error)) from None
    return _read(found)


def verify_envelope(envelope: Envelope, expected: PayloadType, keys: Iterable[PublicKey]) -> Verified:
    """Return the payload once one of ``keys`` signed it as ``expected``.

    The caller chooses the keys: right use, not revoked, in time (``KeyManifest.keys_for``).

    Raises:
        EnvelopeRefusedError: ``payload_type``: of another type.
        SignatureRefusedError: ``no_key`` when there is no candidate, ``too_many_keys``, ``signature`` when none fits.
    """
    if envelope.payload_type != expected.value:
        raise EnvelopeRefusedError(
            "payload_type", f"{envelope.payload_type!r} where {expected.value} is expected"
        )
    candidates = _candidates(keys)
    if not candidates:
        raise SignatureRefusedError("no_key", "no key is acceptable here")
    message = pae(envelope.payload_type, envelope.payload)
    for key in candidates:
        if _signed(message, envelope.signatures, key):
            return _prove(envelope.payload, expected, key)
    raise SignatureRefusedError("signature", "no signature by an acceptable key fits")


def verified_signers(envelope: Envelope, keys: Iterable[PublicKey]) -> frozenset[PublicKey]:
    """Return which of ``keys`` signed the envelope, each once however often it signed; for thresholds.

    The payload type is whatever the envelope says and is covered by each signature; the caller compares it.

    Raises:
        SignatureRefusedError: ``too_many_keys``.
    """
    message = pae(envelope.payload_type, envelope.payload)
    return frozenset(key for key in _candidates(keys) if _signed(message, envelope.signatures, key))


def _candidates(keys: Iterable[PublicKey]) -> list[PublicKey]:
    candidates = list(dict.fromkeys(keys))
    if len(candidates) > limits.VERIFY_MAX_KEYS:
        raise SignatureRefusedError(
            "too_many_keys", f"{len(candidates)} keys to try, at most {limits.VERIFY_MAX_KEYS}"
        )
    return candidates


def _signed(message: bytes, signatures: tuple[Signature, ...], key: PublicKey) -> bool:
    # The hinted ones first, for speed alone: the others are tried as well.
    for one in sorted(signatures, key=lambda signature: signature.keyid != key.keyid):
        try:
            key.verify(message, one.sig)
        except SignatureRefusedError:
            continue
        return True
    return False


def _prove(payload: bytes, payload_type: PayloadType, key: PublicKey) -> Verified:
    verified = object.__new__(Verified)
    object.__setattr__(verified, "payload", payload)
    object.__setattr__(verified, "payload_type", payload_type)
    object.__setattr__(verified, "key", key)
    return verified


def _read(found: object) -> Envelope:
    if not isinstance(found, dict) or set(found) != _ENVELOPE_KEYS:
        raise EnvelopeRefusedError("keys", "an envelope has exactly payload, payloadType and signatures")
    payload, payload_type, signatures = found["payload"], found["payloadType"], found["signatures"]
    if not isinstance(payload, str) or not isinstance(payload_type, str) or not isinstance(signatures, list):
        raise EnvelopeRefusedError("types", "payload and payloadType are text, signatures is a list")
    if not payload_type.isascii() or not payload_type.isprintable() or not _fits(payload_type):
        raise EnvelopeRefusedError("payload_type_form", "a payload type is short printable ASCII")
    if not 1 <= len(signatures) <= limits.ENVELOPE_MAX_SIGNATURES:
        raise EnvelopeRefusedError("signature_count", f"{len(signatures)} signatures")
    return Envelope(_decode(payload), payload_type, tuple(_read_signature(one) for one in signatures))


def _fits(payload_type: str) -> bool:
    return 0 < len(payload_type) <= limits.PAYLOAD_TYPE_MAX_BYTES


def _read_signature(found: object) -> Signature:
    if not isinstance(found, dict) or set(found) != _SIGNATURE_KEYS:
        raise EnvelopeRefusedError("keys", "a signature has exactly keyid and sig")
    keyid, sig = found["keyid"], found["sig"]
    if not isinstance(keyid, str) or not isinstance(sig, str):
        raise EnvelopeRefusedError("types", "keyid and sig are text")
    if len(keyid.encode("utf-8")) > limits.KEYID_MAX_BYTES:
        raise EnvelopeRefusedError("keyid_form", f"a keyid has at most {limits.KEYID_MAX_BYTES} bytes")
    raw = _decode(sig)
    if len(raw) != SIGNATURE_BYTES:
        raise EnvelopeRefusedError("signature_length", f"a signature has {SIGNATURE_BYTES} bytes")
    return Signature(keyid, raw)


def _decode(text: str) -> bytes:
    try:
        return base64_strict.decode(text)
    except Base64RefusedError as error:
        raise EnvelopeRefusedError("base64", error.detail) from None
