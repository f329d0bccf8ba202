"""The fleet's signing keys, its id and its first manifest: made once, in an order that survives any crash.

Keys and id come first, each file whole or absent; the manifest is made out of them and never written again. A
start that was interrupted goes on where it stopped. docs/protocol.md 4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from redflag.keys.durable_file import load_or_make, write_durable
from redflag.keys.errors import KeyFileError
from redflag_wire.clock import Clock
from redflag_wire.errors import WireError
from redflag_wire.ids import new_id, parse_id
from redflag_wire.manifest import KeyManifest, KeyStatus, ManifestKey, ManifestRoot, root_fingerprint
from redflag_wire.manifest_chain import verify_first
from redflag_wire.payload_types import KeyUse, PayloadType, SignerRole
from redflag_wire.signing import SigningKey, sign_envelope

USES = (KeyUse.COMMAND, KeyUse.BEACON, KeyUse.ACCESS, KeyUse.INTENT)
MANIFEST_LIFE = timedelta(days=2 * 365)  # the root's word; renewed by the next manifest
KEY_LIFE = timedelta(days=365 + 30)  # a yearly rotation with a month of grace
BACKDATED = timedelta(minutes=5)  # so that a host whose trusted time is a little behind takes the keys

MANIFEST_FILE = "manifest-1.json"
FLEET_FILE = "fleet"


@dataclass(frozen=True)
class FleetKeys:
    """What the rest of the start needs to know; private keys stay in their files."""

    keys_dir: Path
    fleet: str  # UUID text
    manifest: bytes  # the envelope of version 1, byte for byte as signed
    root_fingerprint: bytes  # 32 bytes


def key_file(keys_dir: Path, use: SignerRole | KeyUse) -> Path:
    """Return the file of a key."""
    return keys_dir / f"{use.value}.key"


def have_manifest(keys_dir: Path) -> bool:
    """Tell whether keys were made here to the end."""
    return (keys_dir / MANIFEST_FILE).is_file()


def load_or_make_fleet(keys_dir: Path, clock: Clock, random: Callable[[int], bytes]) -> FleetKeys:
    """Return this installation's keys; make what is missing.

    Args:
        keys_dir: an existing directory for nobody but us.
        clock: dates the keys.
        random: gives that many bytes from a cryptographic source.

    Raises:
        KeyFileError: a file is damaged or cannot be read or written.
    """
    root = _key(keys_dir, SignerRole.ROOT, random)
    keys = {use: _key(keys_dir, SignerRole(use.value), random) for use in USES}
    fleet_file = keys_dir / FLEET_FILE
    manifest_file = keys_dir / MANIFEST_FILE
    try:
        fleet = str(parse_id(load_or_make(fleet_file, lambda: str(new_id(clock, random)))))
    except (OSError, WireError, UnicodeDecodeError) as error:
        raise KeyFileError(fleet_file, str(error)) from error
    try:
        if not manifest_file.is_file():
            payload = _first_manifest(fleet, root, keys, clock.now()).to_bytes()
            write_durable(manifest_file, sign_envelope(PayloadType.KEYS, payload, root).to_bytes())
        envelope = manifest_file.read_bytes()
        fingerprint = _fingerprint(fleet, root, keys, clock.now())
        manifest = verify_first(envelope, fingerprint)
    except (OSError, WireError) as error:
        raise KeyFileError(manifest_file, str(error)) from error
    if manifest.fleet != fleet:
        raise KeyFileError(fleet_file, "it names another fleet than the manifest")
    return FleetKeys(keys_dir, fleet, envelope, fingerprint)


def _key(keys_dir: Path, role: SignerRole, random: Callable[[int], bytes]) -> SigningKey:
    path = key_file(keys_dir, role)
    try:
        text = load_or_make(path, lambda: SigningKey.generate(random).to_text(role).strip())
        return SigningKey.from_text(text, role)
    except (OSError, WireError, UnicodeDecodeError) as error:
        raise KeyFileError(path, str(error)) from error


def _fingerprint(fleet: str, root: SigningKey, keys: dict[KeyUse, SigningKey], now: datetime) -> bytes:
    # Depends on the roots alone, so a manifest made now has the fingerprint of the one that is kept.
    return root_fingerprint(_first_manifest(fleet, root, keys, now))


def _first_manifest(
    fleet: str, root: SigningKey, keys: dict[KeyUse, SigningKey], now: datetime
) -> KeyManifest:
    now = now.replace(microsecond=0)
    return KeyManifest(
        fleet=fleet,
        version=1,
        expires=now + MANIFEST_LIFE,
        roots=[ManifestRoot(pub=root.public.to_b64())],
        threshold=1,
        keys=[
            ManifestKey(
                keyid=key.public.keyid,
                pub=key.public.to_b64(),
                use=use,
                kinds=None,
                nbf=now - BACKDATED,
                exp=now + KEY_LIFE,
                status=KeyStatus.ACTIVE,
            )
            for use, key in keys.items()
        ],
    )
