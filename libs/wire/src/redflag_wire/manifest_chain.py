"""How a host comes to trust a key manifest, and the next one (docs/protocol.md 4, the root rules of TUF).

Invariants:
- A manifest follows another only by exactly one version, signed by the threshold of the OLD roots and of the NEW.
- Each key counts once, however often it signed.
- The old roots' signatures are checked over the raw bytes before the payload is parsed. The first manifest is the one
  exception: its roots stand inside it, so it is parsed first and trusted only when their fingerprint is the one the
  host was given beforehand and they signed it.
- Nothing is kept here: the caller persists an accepted manifest, with fsync, before it uses it.
"""

from collections.abc import Sequence
from datetime import datetime

from redflag_wire import limits
from redflag_wire.envelope import Envelope, parse_envelope, verified_signers
from redflag_wire.errors import ManifestRefusedError
from redflag_wire.manifest import KeyManifest, root_fingerprint
from redflag_wire.payload_types import PayloadType


def verify_first(envelope_bytes: bytes, rootfp: bytes) -> KeyManifest:
    """Return the first manifest a host trusts.

    Args:
        envelope_bytes: the wire form.
        rootfp: the root fingerprint the host was given: enrolment token or setting.

    Raises:
        ManifestRefusedError: ``payload_type``, ``fingerprint`` when its roots are others, ``threshold`` when too few of
            them signed.
        EnvelopeRefusedError: not an envelope.
        SchemaRefusedError: not a manifest.
    """
    envelope = _keys_envelope(envelope_bytes)
    manifest = KeyManifest.from_bytes(envelope.payload)
    if root_fingerprint(manifest) != rootfp:
        raise ManifestRefusedError("fingerprint", "the roots are not the ones this host was told to trust")
    _need_threshold(envelope, manifest, "own")
    return manifest


def advance(current: KeyManifest, envelope_bytes: bytes) -> KeyManifest:
    """Return the manifest that follows ``current``.

    Raises:
        ManifestRefusedError: ``payload_type``, ``threshold``, ``fleet``, ``rollback`` for a lower version,
            ``version_gap`` for the same one or one beyond the next.
        EnvelopeRefusedError: not an envelope.
        SchemaRefusedError: not a manifest.
    """
    envelope = _keys_envelope(envelope_bytes)
    _need_threshold(envelope, current, "old")
    new = KeyManifest.from_bytes(envelope.payload)
    if new.fleet != current.fleet:
        raise ManifestRefusedError("fleet", "a manifest of another installation")
    if new.version < current.version:
        raise ManifestRefusedError("rollback", f"version {new.version} after {current.version}")
    if new.version != current.version + 1:
        raise ManifestRefusedError("version_gap", f"version {new.version} after {current.version}")
    _need_threshold(envelope, new, "new")
    return new


def walk(current: KeyManifest, envelopes: Sequence[bytes]) -> KeyManifest:
    """Return the last of a run of manifests, each following the one before.

    Args:
        current: the trusted one.
        envelopes: those that follow it, in order; of a whole chain, ``chain[current.version:]``. Empty is no change.

    Raises:
        ManifestRefusedError: as ``advance``, and ``too_many_steps`` beyond 32 at a time; then none is taken.
    """
    if len(envelopes) > limits.MANIFEST_MAX_STEPS:
        raise ManifestRefusedError(
            "too_many_steps", f"{len(envelopes)} steps, at most {limits.MANIFEST_MAX_STEPS}"
        )
    for envelope_bytes in envelopes:
        current = advance(current, envelope_bytes)
    return current


def is_expired(manifest: KeyManifest, now: datetime) -> bool:
    """Return whether commands that change the host must stop."""
    return now > manifest.expires


def _keys_envelope(envelope_bytes: bytes) -> Envelope:
    envelope = parse_envelope(envelope_bytes)
    if envelope.payload_type != PayloadType.KEYS.value:
        raise ManifestRefusedError("payload_type", "not a key manifest")
    return envelope


def _need_threshold(envelope: Envelope, manifest: KeyManifest, which: str) -> None:
    signers = verified_signers(envelope, manifest.root_keys)
    if len(signers) < manifest.threshold:
        raise ManifestRefusedError(
            "threshold", f"{len(signers)} of {manifest.threshold} {which} roots signed"
        )
