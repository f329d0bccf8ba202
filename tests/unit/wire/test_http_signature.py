"""T3 and the oracle: an independent RFC 9421 library agrees, and every change to a request is refused."""

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import http_message_signatures as oracle
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from redflag_wire import base64_strict, limits
from redflag_wire.errors import RequestRefusedError
from redflag_wire.http_signature import (
    COMPONENTS,
    RequestParts,
    Tag,
    check_content_digest,
    content_digest,
    parse_signature,
    sign_request,
    signature_base,
    verify_request,
)
from tests.unit.wire.samples import key

KEY = key("agent")
BODY = b'{"handles":["x"]}'
CREATED = 1_767_225_600
NONCE = base64_strict.encode(bytes(range(16)))
PARTS = RequestParts(
    method="POST",
    target_uri="https://redflag.example/agent/v1/commands/ack?wait=5",
    content_type="application/json; charset=utf-8",
    content_digest=content_digest(BODY),
    rf_nonce="c29tZSBub25jZQ",
    authorization="Bearer aaa.bbb.ccc",
)


def signed(parts: RequestParts = PARTS, tag: Tag = Tag.AGENT, **changes: Any) -> tuple[str, str]:
    fields: dict[str, Any] = {
        "signer": KEY.sign,
        "keyid": KEY.public.thumbprint,
        "created": CREATED,
        "nonce": NONCE,
        "tag": tag,
    }
    return sign_request(parts, **{**fields, **changes})


def verify(signature_input: str, signature: str, parts: RequestParts = PARTS, tag: Tag = Tag.AGENT) -> str:
    """Return ``ok`` or the refusal's code."""
    try:
        verify_request(parts, signature_input, signature, tag=tag, key=KEY.public)
    except RequestRefusedError as error:
        return error.code
    return "ok"


@dataclass
class Message:
    """A request as the oracle wants it."""

    method: str
    url: str
    headers: dict[str, str]


def message(tag: Tag = Tag.AGENT) -> Message:
    headers = {
        "Content-Type": PARTS.content_type,
        "Content-Digest": PARTS.content_digest,
        "RF-Nonce": PARTS.rf_nonce,
    }
    if tag is Tag.AGENT:
        headers["Authorization"] = str(PARTS.authorization)
    return Message(PARTS.method, PARTS.target_uri, headers)


class Resolver(oracle.HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> Any:
        assert key_id == KEY.public.thumbprint
        return Ed25519PublicKey.from_public_bytes(KEY.public.raw)

    def resolve_private_key(self, key_id: str) -> Any:
        assert key_id == KEY.public.thumbprint
        return Ed25519PrivateKey.from_private_bytes(KEY.seed)


def verifier() -> Any:
    return oracle.HTTPMessageVerifier(signature_algorithm=oracle.algorithms.ED25519, key_resolver=Resolver())


@pytest.mark.parametrize("tag", Tag)
def test_the_oracle_accepts_our_signature(tag: Tag) -> None:
    request = message(tag)
    request.headers["Signature-Input"], request.headers["Signature"] = signed(tag=tag)
    (result,) = verifier().verify(
        request,
        max_age=None,
        expect_tag=tag.value,
        require_components=COMPONENTS[tag],
        body=BODY,
    )
    assert result.parameters["nonce"] == NONCE
    assert result.parameters["created"] == CREATED


@pytest.mark.parametrize("tag", Tag)
def test_the_oracle_refuses_our_signature_on_another_request(tag: Tag) -> None:
    request = message(tag)
    request.headers["Signature-Input"], request.headers["Signature"] = signed(tag=tag)
    request.headers["RF-Nonce"] = "another"
    with pytest.raises(oracle.InvalidSignature):
        verifier().verify(request, max_age=None, expect_tag=tag.value, body=BODY)


@pytest.mark.parametrize("tag", Tag)
def test_our_base_is_the_oracles(tag: Tag) -> None:
    text = signed(tag=tag)[0].removeprefix("rf=")
    handler = verifier()
    parsed = handler._parse_signature_dictionary("rf=" + text)["rf"]
    theirs, _, _ = handler._build_signature_base(
        message(tag), covered_component_ids=list(parsed), signature_params=parsed.params
    )
    assert signature_base(PARTS, text) == theirs.encode()


@pytest.mark.parametrize("tag", Tag)
def test_we_accept_the_oracles_signature_with_the_profiles_parameters(tag: Tag) -> None:
    request = message(tag)
    text = signed(tag=tag)[0].removeprefix("rf=")
    handler = verifier()
    parsed = handler._parse_signature_dictionary("rf=" + text)["rf"]
    base, _, _ = handler._build_signature_base(
        request, covered_component_ids=list(parsed), signature_params=parsed.params
    )
    signer: Any = cast("Any", oracle.algorithms).ED25519(
        private_key=Resolver().resolve_private_key(KEY.public.thumbprint)
    )
    signature = signer.sign(base.encode())
    assert verify("rf=" + text, f"rf=:{base64_strict.encode(signature)}:", tag=tag) == "ok"


@pytest.mark.parametrize("tag", Tag)
def test_signature_verifies_and_says_what_it_is(tag: Tag) -> None:
    params = verify_request(PARTS, *signed(tag=tag), tag=tag, key=KEY.public)
    assert (params.created, params.nonce, params.keyid, params.tag) == (
        CREATED,
        NONCE,
        KEY.public.thumbprint,
        tag,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"target_uri": "https://redflag.example/agent/v1/commands/ack?wait=6"},
        {"target_uri": "http://redflag.example/agent/v1/commands/ack?wait=5"},
        {"target_uri": "https://other.example/agent/v1/commands/ack?wait=5"},
        {"content_type": "application/json"},
        {"content_digest": content_digest(b"other")},
        {"rf_nonce": "another"},
        {"authorization": "Bearer aaa.bbb.ddd"},
    ],
)
def test_changed_request_is_refused(change: dict[str, str]) -> None:
    assert verify(*signed(), dataclasses.replace(PARTS, **change)) == "signature"


def test_authorization_is_not_covered_by_a_renewal() -> None:
    made = signed(tag=Tag.RENEW)
    without = dataclasses.replace(PARTS, authorization=None)
    assert verify(*made, without, Tag.RENEW) == "ok"
    assert signed(without, tag=Tag.RENEW) == made


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"method": "post"}, "component_method"),
        ({"method": ""}, "component_method"),
        ({"target_uri": ""}, "component_target_uri"),
        ({"target_uri": "https://x/ "}, "component_target_uri"),
        ({"content_type": ""}, "component_content_type"),
        ({"content_type": " a/b"}, "component_content_type"),
        ({"content_type": 'a/b\n"rf-nonce": forged'}, "component_content_type"),
        ({"content_type": "a/b\r"}, "component_content_type"),
        ({"content_type": "a/\u00fc"}, "component_content_type"),
        ({"content_digest": ""}, "component_content_digest"),
        ({"content_digest": content_digest(b"").replace("256", "512")}, "component_content_digest"),
        ({"content_digest": content_digest(b"") + ", " + content_digest(b"")}, "component_content_digest"),
        ({"rf_nonce": ""}, "component_rf_nonce"),
        ({"rf_nonce": "x" * (limits.COMPONENT_MAX_BYTES + 1)}, "component_rf_nonce"),
        ({"authorization": None}, "component_authorization"),
        ({"authorization": ""}, "component_authorization"),
    ],
)
def test_missing_or_malformed_part_is_refused(change: dict[str, Any], code: str) -> None:
    parts = dataclasses.replace(PARTS, **change)
    assert verify(*signed(), parts) == code
    with pytest.raises(RequestRefusedError, match=code):
        signed(parts)


INPUT, SIGNATURE = signed()
RENEW_INPUT, RENEW_SIGNATURE = signed(tag=Tag.RENEW)


@pytest.mark.parametrize(
    ("signature_input", "code"),
    [
        ("", "signature_missing"),
        (INPUT + ", " + INPUT.replace("rf=", "other=", 1), "signature_input_form"),
        (INPUT + "," + INPUT, "signature_input_form"),
        (INPUT.replace("rf=", "sig1=", 1), "signature_input_form"),
        (INPUT.replace("rf=", "RF=", 1), "signature_input_form"),
        (" " + INPUT, "signature_input_form"),
        (INPUT + " ", "signature_input_form"),
        (INPUT + "\n", "signature_input_form"),
        (INPUT + ";expires=1", "signature_input_form"),
        (INPUT.replace(";created", "; created"), "signature_input_form"),
        (INPUT.replace(f"created={CREATED}", "created=-1"), "signature_input_form"),
        (INPUT.replace(f"created={CREATED}", 'created="1"'), "signature_input_form"),
        (INPUT.replace(f"created={CREATED}", "created=\u0661"), "signature_input_form"),
        (INPUT.replace(f"created={CREATED};", ""), "signature_input_form"),
        (INPUT.replace('alg="ed25519"', 'alg="hmac-sha256"'), "signature_input_form"),
        (INPUT.replace('alg="ed25519"', 'alg="none"'), "signature_input_form"),
        (INPUT.replace(';alg="ed25519"', ""), "signature_input_form"),
        (INPUT.replace(NONCE, ""), "signature_input_form"),
        (INPUT.replace(NONCE, base64_strict.encode(bytes(17))), "nonce_form"),
        (INPUT.replace(NONCE, NONCE[:-3] + "x=="), "nonce_form"),
        (INPUT.replace('"@method" ', ""), "components"),
        (INPUT.replace('"@method" "@target-uri"', '"@target-uri" "@method"'), "components"),
        (INPUT.replace('"rf-nonce")', '"rf-nonce" "date")'), "components"),
        (INPUT.replace('"rf-nonce")', '"rf-nonce" "rf-nonce")'), "components"),
        (INPUT.replace('"content-digest"', '"content-digest";sf'), "components"),
        (INPUT.replace('"@target-uri"', '"@path"'), "components"),
        (INPUT.replace(' "authorization"', ""), "components"),
        (INPUT.replace(INPUT[3 : INPUT.index(";")], "()"), "components"),
        (INPUT.replace("rf-agent-v1", "rf-agent-v2"), "tag"),
        (INPUT.replace("rf-agent-v1", "rf-renew-v1"), "components"),
        (RENEW_INPUT.replace("rf-renew-v1", "rf-agent-v1"), "components"),
        (RENEW_INPUT, "tag"),
        (INPUT.replace(KEY.public.thumbprint, key("other").public.thumbprint), "keyid"),
        (INPUT.replace(f"created={CREATED}", f"created={CREATED + 1}"), "signature"),
        (INPUT.replace(NONCE, base64_strict.encode(bytes(16))), "signature"),
        ("x" * (limits.SIGNATURE_HEADER_MAX_BYTES + 1), "signature_input_form"),
    ],
)  # fmt: skip
def test_other_signature_input_is_refused(signature_input: str, code: str) -> None:
    assert verify(signature_input, SIGNATURE) == code


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("", "signature_missing"),
        (SIGNATURE + ", " + SIGNATURE.replace("rf=", "other=", 1), "signature_form"),
        (SIGNATURE.replace("rf=", "sig1=", 1), "signature_form"),
        (SIGNATURE + "\n", "signature_form"),
        (SIGNATURE + ";x", "signature_form"),
        (SIGNATURE.replace("rf=:", "rf=").rstrip(":"), "signature_form"),
        ("rf=:" + base64_strict.encode(bytes(63)) + ":", "signature_form"),
        ("rf=:" + base64_strict.encode(bytes(65)) + ":", "signature"),
        ("rf=:" + "A" * 86 + "B=:", "signature_form"),
        ("rf=:" + "A" * 85 + "B==:", "signature_form"),
        ("rf=:" + base64_strict.encode(bytes(64)) + ":", "signature"),
        (RENEW_SIGNATURE, "signature"),
    ],
)
def test_other_signature_is_refused(signature: str, code: str) -> None:
    assert verify(INPUT, signature) == code


def test_every_flipped_bit_of_both_headers_is_refused() -> None:
    for which, text in enumerate((INPUT, SIGNATURE)):
        for bit in range(len(text) * 7):
            flipped = text[: bit // 7] + chr(ord(text[bit // 7]) ^ 1 << bit % 7) + text[bit // 7 + 1 :]
            pair = (flipped, SIGNATURE) if which == 0 else (INPUT, flipped)
            assert verify(*pair) != "ok", flipped


def test_signature_of_another_key_is_refused() -> None:
    assert verify(*signed(signer=key("other").sign)) == "signature"


def test_parse_tells_whose_key_to_fetch() -> None:
    params, sig = parse_signature(INPUT, SIGNATURE)
    assert params.keyid == KEY.public.thumbprint
    assert len(sig) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "short"},
        {"nonce": base64_strict.encode_url(bytes(16))},
        {"keyid": "x"},
        {"created": -1},
        {"created": 0},
    ],
)
def test_signing_refuses_what_no_verifier_takes(change: dict[str, Any]) -> None:
    with pytest.raises(RequestRefusedError):
        signed(**change)


def test_base_refuses_an_unknown_list() -> None:
    with pytest.raises(RequestRefusedError, match="components"):
        signature_base(PARTS, '("@method");created=1')


@pytest.mark.parametrize("body", [b"", b"x", b"\0" * 1000])
def test_content_digest_is_checked(body: bytes) -> None:
    check_content_digest(content_digest(body), body)
    with pytest.raises(RequestRefusedError) as refused:
        check_content_digest(content_digest(body), body + b"x")
    assert refused.value.code == "content_digest"


@pytest.mark.parametrize(
    "header",
    ["", "sha-512=:AA==:", content_digest(b"x") + ",md5=:AA==:", "SHA-256=" + content_digest(b"x")[8:], "sha-256=AA==",
     content_digest(b"x") + "\n"],
)  # fmt: skip
def test_other_digest_headers_are_refused(header: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        check_content_digest(header, b"x")
    assert refused.value.code == "content_digest_form"


def test_empty_digest_is_the_known_one() -> None:
    assert content_digest(b"") == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
