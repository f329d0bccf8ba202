from datetime import timedelta
from pathlib import Path

import pytest

from redflag_dispatcher.errors import KeySetError
from redflag_dispatcher.keys import (
    KeyRing,
    SigningKeys,
    check_keys,
    load_signing_keys,
    pinned_roots,
    walk_chain,
)
from redflag_ops.errors import ConfigurationError
from redflag_wire.manifest import KeyManifest, KeyStatus, ManifestKey, ManifestRoot, root_fingerprint
from redflag_wire.payload_types import KeyUse, PayloadType
from redflag_wire.signing import SigningKey, sign_envelope
from tests.unit.dispatcher.signers import FLEET, NOW, make_key

ROOT = make_key()
KEYS = SigningKeys(make_key(), make_key(), make_key())
INTENT = make_key()


def manifest(
    version: int = 1, *, keys: SigningKeys = KEYS, status: KeyStatus = KeyStatus.ACTIVE
) -> KeyManifest:
    uses = {**keys.by_use(), KeyUse.INTENT: INTENT}
    return KeyManifest(
        fleet=FLEET,
        version=version,
        expires=NOW + timedelta(days=365),
        roots=[ManifestRoot(pub=ROOT.public.to_b64())],
        threshold=1,
        keys=[
            ManifestKey(
                keyid=key.public.keyid,
                pub=key.public.to_b64(),
                use=use,
                nbf=NOW - timedelta(days=1),
                exp=NOW + timedelta(days=30),
                status=status,
            )
            for use, key in uses.items()
        ],
    )


def sealed(one: KeyManifest, key: SigningKey = ROOT) -> bytes:
    return sign_envelope(PayloadType.KEYS, one.to_bytes(), key).to_bytes()


ROOTFP = root_fingerprint(manifest())


def write_keys(directory: Path) -> None:
    for use, key in KEYS.by_use().items():
        (directory / f"{use.value}.key").write_text(key.to_text(use.value))


def test_keys_are_loaded_for_their_use(tmp_path: Path) -> None:
    write_keys(tmp_path)
    assert load_signing_keys(tmp_path) == KEYS


def test_key_of_another_use_is_a_clear_error(tmp_path: Path) -> None:
    write_keys(tmp_path)
    (tmp_path / "beacon.key").write_text(KEYS.command.to_text("command"))
    with pytest.raises(ConfigurationError, match=r"beacon\.key is not a beacon key"):
        load_signing_keys(tmp_path)


def test_missing_key_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="command key"):
        load_signing_keys(tmp_path)


def test_roots_are_pinned_by_setting_or_file(tmp_path: Path) -> None:
    assert pinned_roots(ROOTFP.hex(), tmp_path) == ROOTFP
    with pytest.raises(ConfigurationError, match="REDFLAG_ROOT_FINGERPRINT"):
        pinned_roots(None, tmp_path)
    with pytest.raises(ConfigurationError, match="64 hex digits"):
        pinned_roots("abc", tmp_path)
    (tmp_path / "manifest-1.json").write_bytes(sealed(manifest()))
    assert pinned_roots(None, tmp_path) == ROOTFP
    (tmp_path / "manifest-1.json").write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match="no key manifest"):
        pinned_roots(None, tmp_path)


def test_chain_is_walked_from_the_pinned_roots() -> None:
    assert walk_chain(ROOTFP, [sealed(manifest(1)), sealed(manifest(2))]).version == 2


@pytest.mark.parametrize(
    "chain",
    [
        [],
        [sealed(manifest(), make_key())],
        [sealed(manifest(1)), sealed(manifest(3))],
        [sealed(manifest(1)), sealed(manifest(2), make_key())],
        [b"{}"],
    ],
    ids=["empty", "forged", "gap", "forged-second", "garbage"],
)
def test_chain_that_does_not_hold_is_refused(chain: list[bytes]) -> None:
    with pytest.raises(KeySetError):
        walk_chain(ROOTFP, chain)


def test_chain_of_other_roots_is_refused() -> None:
    with pytest.raises(KeySetError, match="fingerprint"):
        walk_chain(bytes(32), [sealed(manifest())])


def test_key_must_stand_in_the_manifest_with_its_use() -> None:
    check_keys(KEYS, manifest(), fleet=FLEET, now=NOW)
    swapped = SigningKeys(KEYS.beacon, KEYS.command, KEYS.access)
    for keys, one, at in (
        (swapped, manifest(), NOW),
        (SigningKeys(make_key(), KEYS.beacon, KEYS.access), manifest(), NOW),
        (KEYS, manifest(status=KeyStatus.REVOKED), NOW),
        (KEYS, manifest(), NOW + timedelta(days=31)),
    ):
        with pytest.raises(KeySetError, match="command key"):
            check_keys(keys, one, fleet=FLEET, now=at)
    with pytest.raises(KeySetError, match="fleet"):
        check_keys(KEYS, manifest(), fleet="another", now=NOW)


def test_ring_moves_on_and_never_back() -> None:
    ring = KeyRing(KEYS, manifest(), ROOTFP, FLEET)
    assert ring.intent_keys(NOW) == [INTENT.public]
    assert ring.renew([sealed(manifest(1))], NOW) is False
    assert ring.renew([sealed(manifest(1)), sealed(manifest(2))], NOW) is True
    with pytest.raises(KeySetError, match="went back"):
        ring.renew([sealed(manifest(1))], NOW)
    assert ring.manifest.version == 2
