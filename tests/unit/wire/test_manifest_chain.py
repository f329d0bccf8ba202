"""E10: how a manifest follows another, and every way it may not."""

from datetime import timedelta
from typing import Any

import pytest

from redflag_wire import limits
from redflag_wire.command_params import CommandKind
from redflag_wire.envelope import Signature, pae
from redflag_wire.errors import ManifestRefusedError, SchemaRefusedError, SignatureRefusedError, WireError
from redflag_wire.manifest import KeyManifest, ManifestRoot, root_fingerprint
from redflag_wire.manifest_chain import advance, is_expired, verify_first, walk
from redflag_wire.payload_types import KeyUse, PayloadType, SignerRole
from redflag_wire.signing import SigningKey, sign_envelope
from tests.unit.wire import samples
from tests.unit.wire.samples import KEYS, NOW, key

A, B, C, D = key("root a"), key("root b"), key("root c"), key("root d")


def manifest(version: int, *roots: SigningKey, threshold: int = 1, **changes: Any) -> KeyManifest:
    listed = [ManifestRoot(pub=root.public.to_b64()) for root in roots]
    return samples.manifest(version=version, roots=listed, threshold=threshold, **changes)


def signed(made: KeyManifest, *roots: SigningKey) -> bytes:
    return sign_envelope(PayloadType.KEYS, made.to_bytes(), *roots).to_bytes()


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(ManifestRefusedError) as refused:
        call(*arguments)
    return refused.value.code


ONE = manifest(1, A, B, threshold=2)
ONE_BYTES = signed(ONE, A, B)


def test_first_manifest_is_trusted_by_its_fingerprint() -> None:
    assert verify_first(ONE_BYTES, root_fingerprint(ONE)) == ONE


def test_first_manifest_with_other_roots_is_refused() -> None:
    own = manifest(1, C, D, threshold=2)
    assert refusal(verify_first, signed(own, C, D), root_fingerprint(ONE)) == "fingerprint"


def test_fingerprint_covers_the_threshold() -> None:
    lowered = manifest(1, A, B, threshold=1)
    assert refusal(verify_first, signed(lowered, A), root_fingerprint(ONE)) == "fingerprint"


@pytest.mark.parametrize("signers", [(A,), (A, C), (C, D)])
def test_first_manifest_needs_the_threshold(signers: tuple[SigningKey, ...]) -> None:
    assert refusal(verify_first, signed(ONE, *signers), root_fingerprint(ONE)) == "threshold"


def test_signature_counted_twice_does_not_meet_a_threshold() -> None:
    envelope = sign_envelope(PayloadType.KEYS, ONE.to_bytes(), A)
    (one,) = envelope.signatures
    renamed = Signature(B.public.keyid, one.sig)
    for extra in ((one,), (renamed,), (renamed, one)):
        data = type(envelope)(envelope.payload, envelope.payload_type, (one, *extra)).to_bytes()
        assert refusal(verify_first, data, root_fingerprint(ONE)) == "threshold"


def test_manifest_signed_as_another_type_is_refused() -> None:
    data = sign_envelope(PayloadType.BEACON, ONE.to_bytes(), A, B).to_bytes()
    assert refusal(verify_first, data, root_fingerprint(ONE)) == "payload_type"
    assert refusal(advance, ONE, data) == "payload_type"


def test_next_version_signed_by_old_and_new_roots_follows() -> None:
    two = manifest(2, B, C, threshold=2)
    assert advance(ONE, signed(two, A, B, C)) == two
    assert walk(ONE, [signed(two, A, B, C)]) == two
    assert walk(ONE, []) == ONE


@pytest.mark.parametrize("signers", [(B, C), (A, B), (A, C), (A,), (C, D)])
def test_old_and_new_threshold_are_both_needed(signers: tuple[SigningKey, ...]) -> None:
    two = manifest(2, C, D, threshold=1) if signers == (A, B) else manifest(2, B, C, threshold=2)
    assert refusal(advance, ONE, signed(two, *signers)) == "threshold"


def test_old_roots_are_checked_before_the_payload_is_read() -> None:
    junk = sign_envelope(PayloadType.KEYS, b"{not json", C).to_bytes()
    assert refusal(advance, ONE, junk) == "threshold"
    with pytest.raises(SchemaRefusedError):
        advance(ONE, sign_envelope(PayloadType.KEYS, b"{not json", A, B).to_bytes())


@pytest.mark.parametrize(
    ("current", "offered", "code"), [(1, 3, "version_gap"), (2, 2, "version_gap"), (3, 2, "rollback")]
)
def test_only_the_very_next_version_follows(current: int, offered: int, code: str) -> None:
    assert refusal(advance, manifest(current, A), signed(manifest(offered, A), A)) == code


def test_manifest_of_another_fleet_is_refused() -> None:
    other = manifest(2, A, B, threshold=2, fleet=str(samples.AGENT))
    assert refusal(advance, ONE, signed(other, A, B)) == "fleet"


def chain(steps: int) -> tuple[KeyManifest, list[bytes]]:
    roots = [key(f"rotating {number}") for number in range(steps + 1)]
    first = manifest(1, roots[0])
    return first, [
        signed(manifest(number + 1, roots[number]), roots[number - 1], roots[number])
        for number in range(1, steps + 1)
    ]


def test_32_rotations_are_walked_and_33_refused() -> None:
    first, envelopes = chain(33)
    assert limits.MANIFEST_MAX_STEPS == 32
    assert refusal(walk, first, envelopes) == "too_many_steps"
    reached = walk(first, envelopes[:32])
    assert reached.version == 33
    assert walk(reached, envelopes[32:]).version == 34


def test_a_step_left_out_or_repeated_stops_the_walk() -> None:
    first, envelopes = chain(3)
    assert refusal(walk, first, envelopes[1:]) == "threshold"
    assert refusal(walk, first, [envelopes[0], envelopes[0]]) == "version_gap"


def test_expired_manifest_is_told_and_an_expired_step_may_be_walked_over() -> None:
    past = manifest(2, A, B, threshold=2, expires=NOW - timedelta(days=1))
    three = manifest(3, A, B, threshold=2)
    assert is_expired(past, NOW)
    assert not is_expired(three, NOW)
    assert not is_expired(three, three.expires)
    assert is_expired(three, three.expires + timedelta(milliseconds=1))
    assert walk(ONE, [signed(past, A, B), signed(three, A, B)]) == three


def test_a_manifest_key_cannot_sign_manifests() -> None:
    two = manifest(2, A, B, threshold=2)
    for role in SignerRole:
        assert refusal(advance, ONE, signed(two, A, KEYS[role])) == "threshold"


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 2},
        {"threshold": 0},
        {"roots": []},
        {"version": 0},
        {"roots": [ManifestRoot(pub=A.public.to_b64())] * 2},
        {"keys": [samples.manifest_key(KeyUse.COMMAND, C), samples.manifest_key(KeyUse.BEACON, C)]},
        {"keys": [samples.manifest_key(KeyUse.COMMAND, KEYS[SignerRole.ROOT])]},
        {"roots": [ManifestRoot(pub=key(f"r{number}").public.to_b64()) for number in range(9)]},
    ],
)
def test_inconsistent_manifest_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaRefusedError):
        samples.manifest(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"keyid": D.public.keyid},
        {"pub": "A" * 43 + "="},
        {"exp": NOW - timedelta(days=1)},
        {"kinds": []},
        {"kinds": ["scan", "scan"]},
        {"kinds": ["format_disk"]},
        {"use": "root"},
        {"status": "unknown"},
    ],
)
def test_inconsistent_key_is_refused(changes: dict[str, Any]) -> None:
    value = samples.manifest().model_dump(mode="json")
    value["keys"][0].update(changes)
    with pytest.raises(SchemaRefusedError):
        KeyManifest.from_object(value)


def test_kinds_are_for_command_keys() -> None:
    value = samples.manifest().model_dump(mode="json")
    for one in value["keys"]:
        one["kinds"] = ["scan"] if one["use"] == "beacon" else None
    with pytest.raises(SchemaRefusedError, match="kinds are for command keys"):
        KeyManifest.from_object(value)


def test_largest_manifest_fits_an_envelope() -> None:
    roots = [key(f"r{number}") for number in range(limits.MANIFEST_MAX_ROOTS)]
    made = manifest(
        1,
        *roots,
        threshold=len(roots),
        keys=[
            samples.manifest_key(KeyUse.COMMAND, key(f"k{number}"), kinds=list(CommandKind))
            for number in range(limits.MANIFEST_MAX_KEYS)
        ],
    )
    assert verify_first(signed(made, *roots), root_fingerprint(made)) == made


def test_garbage_is_refused_as_such() -> None:
    for data in (b"", b"{}", b"\xff"):
        with pytest.raises(WireError):
            verify_first(data, bytes(32))
        with pytest.raises(WireError):
            advance(ONE, data)
    with pytest.raises(SignatureRefusedError):
        A.public.verify(pae(PayloadType.KEYS.value, ONE.to_bytes()), bytes(64))
