"""The dispatcher's signing keys, and the key manifest they must stand in.

Guarantees: a key is loaded for the one use its file names; each of the three stands in the newest manifest with
that use, active and in time; and that manifest is reached from version 1, whose roots are pinned outside the
database (a setting, or the file ``manifest-1.json`` beside the keys), step by step with root signatures. So neither
a key nor an intent key slips in through the database (docs/protocol.md 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redflag_dispatcher.errors import KeySetError
from redflag_ops.errors import ConfigurationError
from redflag_ops.settings import read_secret
from redflag_wire.envelope import parse_envelope
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey
from redflag_wire.manifest import KeyManifest, root_fingerprint
from redflag_wire.manifest_chain import advance, verify_first
from redflag_wire.payload_types import KeyUse
from redflag_wire.signing import SigningKey

FIRST_MANIFEST_FILE = "manifest-1.json"
FINGERPRINT_BYTES = 32
MANIFEST_FILE_MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The three private keys the dispatcher holds, one per use."""

    command: SigningKey
    beacon: SigningKey
    access: SigningKey

    def by_use(self) -> dict[KeyUse, SigningKey]:
        """Return them by their use."""
        return {KeyUse.COMMAND: self.command, KeyUse.BEACON: self.beacon, KeyUse.ACCESS: self.access}


def load_signing_keys(directory: Path) -> SigningKeys:
    """Read ``command.key``, ``beacon.key`` and ``access.key``.

    Raises:
        ConfigurationError: a file is missing, or does not hold a key of that use.
    """
    return SigningKeys(
        command=_load(directory, KeyUse.COMMAND),
        beacon=_load(directory, KeyUse.BEACON),
        access=_load(directory, KeyUse.ACCESS),
    )


def _load(directory: Path, use: KeyUse) -> SigningKey:
    path = directory / f"{use.value}.key"
    text = read_secret(path, f"REDFLAG_KEYS_DIR ({use.value} key)")
    try:
        return SigningKey.from_text(text, use.value)
    except WireError as error:
        raise ConfigurationError(
            f"REDFLAG_KEYS_DIR: {path} is not a {use.value} key: {error.detail}"
        ) from None


def pinned_roots(setting: str | None, directory: Path) -> bytes:
    """Return the fingerprint of the roots of manifest version 1.

    Args:
        setting: it in hex, if it is set.
        directory: of the keys; ``manifest-1.json`` there is taken otherwise.

    Raises:
        ConfigurationError: there is neither, or it is not usable.
    """
    if setting:
        try:
            raw = bytes.fromhex(setting)
        except ValueError:
            raw = b""
        if len(raw) != FINGERPRINT_BYTES:
            raise ConfigurationError("REDFLAG_ROOT_FINGERPRINT: 64 hex digits are needed")
        return raw
    path = directory / FIRST_MANIFEST_FILE
    try:
        with path.open("rb") as stream:
            data = stream.read(MANIFEST_FILE_MAX_BYTES)
        return root_fingerprint(KeyManifest.from_bytes(parse_envelope(data.strip()).payload))
    except OSError:
        raise ConfigurationError(
            f"REDFLAG_ROOT_FINGERPRINT: set it, or put {FIRST_MANIFEST_FILE} into REDFLAG_KEYS_DIR"
        ) from None
    except WireError as error:
        raise ConfigurationError(f"REDFLAG_KEYS_DIR: {path} is no key manifest: {error.detail}") from None


def walk_chain(rootfp: bytes, envelopes: Sequence[bytes]) -> KeyManifest:
    """Verify the whole chain from version 1; return the newest manifest.

    Raises:
        KeySetError: there is none, or a step does not hold.
    """
    if not envelopes:
        raise KeySetError("the database holds no key manifest")
    try:
        manifest = verify_first(envelopes[0], rootfp)
        for envelope in envelopes[1:]:
            manifest = advance(manifest, envelope)
    except WireError as error:
        raise KeySetError(f"the key manifest chain does not hold: {error}") from None
    return manifest


def check_keys(keys: SigningKeys, manifest: KeyManifest, *, fleet: str, now: datetime) -> None:
    """Hold that each key stands in the manifest with its use.

    Raises:
        KeySetError: one does not, or the manifest is another fleet's.
    """
    if str(manifest.fleet) != fleet:
        raise KeySetError(f"the key manifest belongs to fleet {manifest.fleet}")
    for use, key in keys.by_use().items():
        if key.public not in manifest.keys_for(use, now):
            raise KeySetError(
                f"the {use.value} key {key.public.keyid} is not active in manifest {manifest.version}"
            )


@dataclass(slots=True)
class KeyRing:
    """The keys in use and the manifest they stand in; the manifest moves on by ``renew``.

    Attributes:
        keys: the private keys.
        manifest: the newest verified manifest.
        rootfp: the pinned roots.
        fleet: this installation.
    """

    keys: SigningKeys
    manifest: KeyManifest
    rootfp: bytes
    fleet: str

    def intent_keys(self, now: datetime) -> list[PublicKey]:
        """Return the keys intents may be signed with now."""
        return self.manifest.keys_for(KeyUse.INTENT, now)

    def renew(self, envelopes: Sequence[bytes], now: datetime) -> bool:
        """Walk the whole chain again; return whether the version moved.

        Raises:
            KeySetError: the chain does not hold, went back, or our keys are not in it any more.
        """
        manifest = walk_chain(self.rootfp, envelopes)
        if manifest.version < self.manifest.version:
            raise KeySetError(f"the manifest went back from {self.manifest.version} to {manifest.version}")
        check_keys(self.keys, manifest, fleet=self.fleet, now=now)
        moved = manifest.version != self.manifest.version
        self.manifest = manifest
        return moved
