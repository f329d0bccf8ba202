"""E2 and E3: bits flipped, types swapped; the strict form of an envelope; the proof type."""

import base64
import contextlib
import copy
import dataclasses
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import limits
from redflag_wire.envelope import (
    Envelope,
    Signature,
    Verified,
    pae,
    parse_envelope,
    verified_signers,
    verify_envelope,
)
from redflag_wire.errors import EnvelopeRefusedError, KeyRefusedError, SignatureRefusedError, WireError
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import SigningKey, sign_envelope
from tests.unit.wire.samples import STEADY, key

KEY = key("one")
OTHER = key("two")
GOOD = sign_envelope(PayloadType.REPORT, b'{"v":1}', KEY)


def wire(**changes: Any) -> bytes:
    return json.dumps({**GOOD.to_object(), **changes}).encode()


def signature(**changes: Any) -> list[dict[str, Any]]:
    return [{**GOOD.to_object()["signatures"][0], **changes}]


def code_of(data: bytes) -> str:
    with pytest.raises(EnvelopeRefusedError) as refused:
        parse_envelope(data)
    return refused.value.code


def test_verify_returns_the_signed_bytes_and_the_key() -> None:
    verified = verify_envelope(
        parse_envelope(GOOD.to_bytes()), PayloadType.REPORT, [OTHER.public, KEY.public]
    )
    assert (verified.payload, verified.payload_type, verified.key) == (
        b'{"v":1}',
        PayloadType.REPORT,
        KEY.public,
    )


def test_every_flipped_bit_is_refused_but_in_the_keyid() -> None:
    data = GOOD.to_bytes()
    start = data.index(b'"keyid":"') + len(b'"keyid":"')
    keyid = range(start, start + len(KEY.public.keyid))
    refused = 0
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            verified = verify_envelope(parse_envelope(bytes(flipped)), PayloadType.REPORT, [KEY.public])
        except WireError:
            refused += 1
        else:
            assert bit // 8 in keyid, f"bit {bit} of {data!r}"
            assert verified.payload == GOOD.payload
    assert refused >= (len(data) - len(keyid)) * 8


@given(
    st.binary(max_size=64), st.binary(max_size=64), st.sampled_from(PayloadType), st.sampled_from(PayloadType)
)
@STEADY
def test_pae_is_injective(one: bytes, two: bytes, kind_one: PayloadType, kind_two: PayloadType) -> None:
    same = (one, kind_one) == (two, kind_two)
    assert (pae(kind_one, one) == pae(kind_two, two)) is same


@pytest.mark.parametrize("signed_as", PayloadType)
@pytest.mark.parametrize("expected", PayloadType)
def test_payload_type_swapped_is_refused(signed_as: PayloadType, expected: PayloadType) -> None:
    envelope = sign_envelope(signed_as, b"{}", KEY)
    renamed = dataclasses.replace(envelope, payload_type=expected.value)
    if signed_as is expected:
        verify_envelope(envelope, expected, [KEY.public])
        return
    with pytest.raises(EnvelopeRefusedError, match="payload_type"):
        verify_envelope(envelope, expected, [KEY.public])
    with pytest.raises(SignatureRefusedError, match="signature"):
        verify_envelope(renamed, expected, [KEY.public])
    assert verified_signers(renamed, [KEY.public]) == frozenset()


def test_payload_is_not_parsed_before_or_by_verification() -> None:
    envelope = sign_envelope(PayloadType.REPORT, b"\xff not JSON {{{", KEY)
    assert verify_envelope(parse_envelope(envelope.to_bytes()), PayloadType.REPORT, [KEY.public]).payload


def test_wrong_keyid_does_not_matter() -> None:
    data = wire(signatures=signature(keyid=OTHER.public.keyid))
    verify_envelope(parse_envelope(data), PayloadType.REPORT, [KEY.public])
    with pytest.raises(SignatureRefusedError, match="signature"):
        verify_envelope(parse_envelope(data), PayloadType.REPORT, [OTHER.public])


def test_a_good_signature_among_bad_ones_is_found() -> None:
    bad = Signature(KEY.public.keyid, bytes(64))
    envelope = dataclasses.replace(GOOD, signatures=(bad, *GOOD.signatures))
    verify_envelope(envelope, PayloadType.REPORT, [KEY.public])


def test_no_key_is_refused() -> None:
    with pytest.raises(SignatureRefusedError, match="no_key"):
        verify_envelope(GOOD, PayloadType.REPORT, [])


def test_too_many_keys_are_refused() -> None:
    keys = [key(f"many {number}").public for number in range(limits.VERIFY_MAX_KEYS + 1)]
    with pytest.raises(SignatureRefusedError, match="too_many_keys"):
        verify_envelope(GOOD, PayloadType.REPORT, keys)


def test_signers_count_each_key_once() -> None:
    envelope = dataclasses.replace(GOOD, signatures=GOOD.signatures * 5)
    assert verified_signers(envelope, [KEY.public, KEY.public, OTHER.public]) == {KEY.public}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "json"),
        (b"[]", "keys"),
        (b"null", "keys"),
        (b"\xef\xbb\xbf" + GOOD.to_bytes(), "json"),
        (GOOD.to_bytes() + b"{}", "json"),
        (GOOD.to_bytes().replace(b'"payload"', b'"payload":"","payload"', 1), "json"),
        (GOOD.to_bytes().decode().encode("utf-16"), "json"),
        (wire(extra=1), "keys"),
        (wire(payloadtype=PayloadType.REPORT), "keys"),
        (json.dumps({"payload": "", "payloadType": "x"}).encode(), "keys"),
        (wire(payload=None), "types"),
        (wire(payload=1), "types"),
        (wire(payloadType=["x"]), "types"),
        (wire(signatures={}), "types"),
        (wire(signatures="x"), "types"),
        (wire(signatures=[]), "signature_count"),
        (wire(signatures=signature() * (limits.ENVELOPE_MAX_SIGNATURES + 1)), "signature_count"),
        (wire(signatures=[[]]), "keys"),
        (wire(signatures=["x"]), "keys"),
        (wire(signatures=signature(alg="none")), "keys"),
        (wire(signatures=[{"sig": "AA=="}]), "keys"),
        (wire(signatures=signature(keyid=None)), "types"),
        (wire(signatures=signature(sig=None)), "types"),
        (wire(signatures=signature(keyid="k" * (limits.KEYID_MAX_BYTES + 1))), "keyid_form"),
        (wire(signatures=signature(sig=base64.b64encode(bytes(63)).decode())), "signature_length"),
        (wire(signatures=signature(sig=base64.b64encode(bytes(65)).decode())), "signature_length"),
        (wire(signatures=signature(sig="")), "signature_length"),
        (wire(signatures=signature(sig="*" * 88)), "base64"),
        (wire(payload="YWI"), "base64"),
        (wire(payload="YWJ="), "base64"),
        (wire(payload="YWI=\n"), "base64"),
        (wire(payload="_-8="), "base64"),
        (wire(payloadType=""), "payload_type_form"),
        (wire(payloadType="a\tb"), "payload_type_form"),
        (wire(payloadType="gr\u00fcn"), "payload_type_form"),
        (wire(payloadType="x" * (limits.PAYLOAD_TYPE_MAX_BYTES + 1)), "payload_type_form"),
        (wire(payload={"a": {"b": {"c": {"d": 1}}}}), "json"),
        (b" " * (limits.ENVELOPE_MAX_BYTES + 1), "too_large"),
    ],
)
def test_malformed_envelope_is_refused(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_an_envelope_of_the_largest_size_is_read_and_a_larger_one_never_made() -> None:
    room = limits.ENVELOPE_MAX_BYTES - len(sign_envelope(PayloadType.REPORT, b"", KEY).to_bytes())
    largest = sign_envelope(PayloadType.REPORT, b"x" * (room // 4 * 3), KEY)
    assert parse_envelope(largest.to_bytes()) == largest
    with pytest.raises(EnvelopeRefusedError, match="too_large"):
        sign_envelope(PayloadType.REPORT, b"x" * (room // 4 * 3 + 3), KEY)


@given(st.binary(max_size=300))
@STEADY
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with contextlib.suppress(EnvelopeRefusedError):
        assert parse_envelope(data).signatures


@given(
    st.binary(max_size=200), st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True)
)
@STEADY
def test_what_is_signed_is_read_back_and_verifies(payload: bytes, names: list[str]) -> None:
    keys = [key(name) for name in names]
    envelope = sign_envelope(PayloadType.ENROLL, payload, *keys)
    assert parse_envelope(envelope.to_bytes()) == envelope
    assert verified_signers(envelope, [one.public for one in keys]) == {one.public for one in keys}


def test_verified_is_made_by_verify_envelope_only() -> None:
    with pytest.raises(TypeError, match="verify_envelope"):
        Verified(payload=b"", payload_type=PayloadType.REPORT, key=KEY.public)
    verified = verify_envelope(GOOD, PayloadType.REPORT, [KEY.public])
    with pytest.raises(TypeError):
        dataclasses.replace(verified, payload=b"other")
    with pytest.raises(TypeError):
        copy.copy(verified)
    with pytest.raises(TypeError):
        pickle.dumps(verified)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verified.payload = b"other"  # type: ignore[misc]


def test_signing_needs_a_key_and_each_once() -> None:
    with pytest.raises(KeyRefusedError, match="no_key"):
        sign_envelope(PayloadType.REPORT, b"")
    with pytest.raises(KeyRefusedError, match="key_twice"):
        sign_envelope(PayloadType.REPORT, b"", KEY, SigningKey.from_seed(KEY.seed))


def test_envelope_too_large_is_not_written() -> None:
    with pytest.raises(EnvelopeRefusedError, match="too_large"):
        Envelope(bytes(limits.ENVELOPE_MAX_BYTES), "x", GOOD.signatures).to_bytes()
