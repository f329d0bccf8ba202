"""Enrolment tokens, renewal bodies, access token claims."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import base64_strict
from redflag_wire.access_token import AccessClaims, Confirmation, Jwk
from redflag_wire.enrolment import ConfirmRequest, RenewAnswer, RenewRequest
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.errors import SchemaRefusedError, TokenRefusedError
from redflag_wire.manifest import root_fingerprint
from tests.unit.wire import samples
from tests.unit.wire.samples import AGENT, FLEET, STEADY, counting_random, key

TOKEN = EnrolmentToken.mint(counting_random(), root_fingerprint(samples.manifest()))
TEXT = TOKEN.to_text()
SECRET = base64_strict.encode(bytes(range(32)))


def test_token_round_trips() -> None:
    assert EnrolmentToken.parse(TEXT) == TOKEN
    assert TOKEN.signing_key.seed == TOKEN.seed
    assert TOKEN.public == TOKEN.signing_key.public
    assert len(TEXT) == 4 + 1 + 10 + 1 + 52 + 1 + 52


def test_two_tokens_differ() -> None:
    random = counting_random()
    assert EnrolmentToken.mint(random, bytes(32)) != EnrolmentToken.mint(random, bytes(32))


def test_token_does_not_show_its_secret() -> None:
    assert TEXT.split("_")[2] not in repr(TOKEN)
    assert repr(TOKEN.seed)[2:10] not in repr(TOKEN)
    assert TOKEN.token_id in repr(TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rfe1",
        TEXT.upper(),
        " " + TEXT,
        TEXT + "\n",
        TEXT + "_",
        TEXT[:-1],
        TEXT + "a",
        TEXT.replace("rfe1", "rfe2"),
        TEXT.replace("_", "-"),
        TEXT.replace("_", "__", 1),
        TEXT[:-1] + "=",
        TEXT[:-1] + "1",
        TEXT[:-1] + "\u0661",
        TEXT[:5] + "0" + TEXT[6:],
        TEXT[:-1] + chr(ord(TEXT[-1]) + 1),  # spare bits set: another spelling of the same bytes
        "rfe1_" + "a" * 10_000_000,
    ],
    ids=range(17),
)
def test_other_texts_are_no_token(text: str) -> None:
    with pytest.raises(TokenRefusedError) as refused:
        EnrolmentToken.parse(text)
    assert refused.value.code == "token_form"
    assert TEXT.split("_")[2][:20] not in str(refused.value)


@given(st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=52, max_size=52))
@STEADY
def test_a_parsed_token_writes_the_same_text(part: str) -> None:
    text = f"rfe1_abcdefghij_{part}_{part}"
    try:
        token = EnrolmentToken.parse(text)
    except TokenRefusedError:
        assert part[-1] not in "aq"  # of 52 characters the last one carries a single bit
    else:
        assert token.to_text() == text


@pytest.mark.parametrize(
    "parts",
    [
        ("ABCDEFGHIJ", bytes(32), bytes(32)),
        ("abcdefghij", bytes(31), bytes(32)),
        ("abcdefghij", bytes(32), b""),
    ],
)
def test_token_parts_are_checked(parts: tuple[str, bytes, bytes]) -> None:
    with pytest.raises(TokenRefusedError, match="token_parts"):
        EnrolmentToken(*parts)


def test_renewal_bodies_round_trip_and_hide_the_secret() -> None:
    renew = RenewRequest(machine_id="ab" * 32, gen=0, secret=SECRET)
    answer = RenewAnswer(access_token="a.b.c", gen=1, secret=SECRET)
    confirm = ConfirmRequest(gen=1, secret=SECRET)
    for one in (renew, answer, confirm):
        assert type(one).from_bytes(one.to_bytes()) == one
        assert SECRET not in repr(one)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"gen":1}',
        b'{"gen":0,"secret":"%b"}' % SECRET.encode(),
        b'{"gen":true,"secret":"%b"}' % SECRET.encode(),
        b'{"gen":1.0,"secret":"%b"}' % SECRET.encode(),
        b'{"gen":"1","secret":"%b"}' % SECRET.encode(),
        b'{"gen":1,"secret":"AAAA"}',
        b'{"gen":1,"secret":"%b","x":1}' % SECRET.encode(),
        b'{"gen":1,"gen":1,"secret":"%b"}' % SECRET.encode(),
    ],
)
def test_malformed_confirmation_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaRefusedError):
        ConfirmRequest.from_bytes(data)


def claims(**changes: Any) -> dict[str, Any]:
    jwk = Jwk.of(key("agent").public).model_dump()
    good: dict[str, Any] = {
        "iss": FLEET,
        "aud": "rf-gateway",
        "sub": str(AGENT),
        "cnf": {"jwk": jwk},
        "gen": 1,
        "jti": "abc",
        "iat": 1_767_225_600,
        "exp": 1_767_229_200,
    }
    return {**good, **changes}


def test_claims_name_agent_and_key() -> None:
    read = AccessClaims.from_claims(claims())
    assert read.sub == AGENT
    assert read.cnf == Confirmation(jwk=Jwk.of(key("agent").public))
    assert read.cnf.jwk.key == key("agent").public


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "other"},
        {"aud": ["rf-gateway"]},
        {"sub": AGENT.hex},
        {"iss": "me"},
        {"gen": "1"},
        {"gen": True},
        {"iat": 1.5},
        {"exp": 1_767_225_600},
        {"exp": 1_767_225_600 + 86_401},
        {"cnf": {"jkt": "x"}},
        {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}}},
        {
            "cnf": {
                "jwk": {"kty": "OKP", "crv": "X25519", "x": base64_strict.encode_url(key("agent").public.raw)}
            }
        },
        {"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}},
        {"scope": "admin"},
    ],
)
def test_other_claims_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TokenRefusedError, match="claims"):
        AccessClaims.from_claims(claims(**change))


def test_every_claim_is_required() -> None:
    for name in claims():
        less = {key_: value for key_, value in claims().items() if key_ != name}
        with pytest.raises(TokenRefusedError):
            AccessClaims.from_claims(less)


def test_claims_that_are_no_object_are_refused() -> None:
    junk: Any
    for junk in (None, [], "x", 1):
        with pytest.raises(TokenRefusedError):
            AccessClaims.from_claims(junk)


def test_machine_id_is_64_hex_digits() -> None:
    digest = hashlib.sha256(b"machine").hexdigest()
    RenewRequest(machine_id=digest, gen=1, secret=SECRET)
    for wrong in (digest.upper(), digest[:-1], digest + "0", digest + "\n", "g" * 64):
        with pytest.raises(ValueError, match="machine_id"):
            RenewRequest(machine_id=wrong, gen=1, secret=SECRET)
