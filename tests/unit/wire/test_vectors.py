"""E1: the DSSE specification's own vector, and known answers made without any RedFlag code."""

import json

import pytest

from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import digest, pae, parse_envelope, verified_signers
from redflag_wire.http_signature import (
    RequestParts,
    Tag,
    content_digest,
    sign_request,
    signature_base,
    verify_request,
)
from redflag_wire.keys import PublicKey
from redflag_wire.manifest import ManifestRoot, root_fingerprint
from redflag_wire.payload_types import PayloadType
from redflag_wire.report_framing import frame_reports, split_reports
from redflag_wire.signing import SigningKey, sign_envelope
from tests.unit.wire import make_vectors, samples

VECTORS = json.loads(make_vectors.HERE.read_text())
KEYS = [SigningKey.from_seed(bytes.fromhex(one["seed"])) for one in VECTORS["keys"]]


def test_vector_file_is_what_the_script_writes() -> None:
    assert make_vectors.HERE.read_text() == make_vectors.text()


def test_pae_matches_the_dsse_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


@pytest.mark.parametrize("number", range(4))
def test_key_names_match_the_vectors(number: int) -> None:
    public, expected = KEYS[number].public, VECTORS["keys"][number]
    assert public.raw.hex() == expected["public"]
    assert public.keyid == expected["keyid"]
    assert public.thumbprint == expected["thumbprint"]
    assert KEYS[number].to_text("command") == expected["key_file"]
    assert SigningKey.from_text(expected["key_file"], "command") == KEYS[number]


def test_thumbprint_matches_rfc_8037() -> None:
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert PublicKey(raw).thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda one: one["type"])
def test_envelope_matches_the_vectors(vector: dict[str, str]) -> None:
    payload = bytes.fromhex(vector["payload"])
    kind = PayloadType(vector["type"])
    signers = KEYS[:2] if kind is PayloadType.ENROLL else KEYS[:1]
    assert pae(kind.value, payload).hex() == vector["pae"]
    assert digest(payload) == vector["digest"]
    assert sign_envelope(kind, payload, *signers).to_bytes() == vector["wire"].encode()
    parsed = parse_envelope(vector["wire"].encode())
    assert parsed.payload == payload
    assert parsed.to_object() == json.loads(vector["wire"])
    assert verified_signers(parsed, [one.public for one in KEYS]) == {one.public for one in signers}


@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda one: one["tag"])
def test_request_signature_matches_the_vectors(vector: dict[str, str]) -> None:
    tag = Tag(vector["tag"])
    parts = RequestParts(
        method="POST",
        target_uri="https://redflag.example/agent/v1/commands/ack?x=1",
        content_type="application/json",
        content_digest=content_digest(vector["body"].encode()),
        rf_nonce="bm9uY2U",
        authorization="Bearer abc.def.ghi" if tag is Tag.AGENT else None,
    )
    text = vector["signature_input"].removeprefix("rf=")
    assert signature_base(parts, text).decode() == vector["base"]
    made = sign_request(
        parts,
        signer=KEYS[2].sign,
        keyid=KEYS[2].public.thumbprint,
        created=1767225600,
        nonce="AAECAwQFBgcICQoLDA0ODw==",
        tag=tag,
    )
    assert made == (vector["signature_input"], vector["signature"])
    verify_request(parts, *made, tag=tag, key=KEYS[2].public)


def test_root_fingerprint_matches_the_vectors() -> None:
    roots = [ManifestRoot(pub=KEYS[number].public.to_b64()) for number in VECTORS["roots"]["keys"]]
    for order in (roots, roots[::-1]):
        made = samples.manifest(roots=order, threshold=VECTORS["roots"]["threshold"])
        assert root_fingerprint(made).hex() == VECTORS["roots"]["fingerprint"]


def test_token_matches_the_vectors() -> None:
    expected = VECTORS["token"]
    token = EnrolmentToken.parse(expected["text"])
    assert token.token_id == expected["id"]
    assert token.seed.hex() == expected["seed"]
    assert token.rootfp.hex() == expected["fingerprint"]
    assert token.to_text() == expected["text"]
    assert token.public == KEYS[3].public


def test_frames_match_the_vectors() -> None:
    pairs = [(envelope.encode(), body.encode()) for envelope, body in VECTORS["frames"]["pairs"]]
    data = bytes.fromhex(VECTORS["frames"]["bytes"])
    assert frame_reports(pairs) == data
    assert split_reports(data) == pairs
