import hashlib
import secrets
from typing import Any

import pytest

from redflag_dispatcher.enrolment import hostname_of
from redflag_dispatcher.enrolment_rules import (
    Generations,
    RenewalStep,
    check_signatures,
    confirmation_step,
    read_enrolment,
    renewal_step,
)
from redflag_dispatcher.errors import EnrolmentRefusedError
from redflag_wire.enrolment import EnrollRequest
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import SigningKey, sign_envelope
from tests.unit.dispatcher.signers import FLEET, make_key

TOKEN, AGENT, RECEIPT = make_key(), make_key(), make_key()


def envelope(*signers: SigningKey, payload_type: PayloadType = PayloadType.ENROLL, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "fleet": FLEET,
        "token_id": "abcdefghij",
        "challenge": "challenge",
        "agent_pub": AGENT.public.to_b64(),
        "receipt_pub": RECEIPT.public.to_b64(),
        "machine_id": "0" * 64,
        "facts": {},
        **changes,
    }
    payload = EnrollRequest(**values).to_bytes()
    return sign_envelope(payload_type, payload, *(signers or (TOKEN, AGENT))).to_bytes()


def test_request_signed_by_token_and_agent_passes() -> None:
    read = read_enrolment(envelope(), fleet=FLEET)
    check_signatures(read, TOKEN.public)
    assert (read.agent_key, read.receipt_key) == (AGENT.public, RECEIPT.public)


@pytest.mark.parametrize("signers", [(TOKEN,), (AGENT,), (make_key(), AGENT), (TOKEN, RECEIPT)])
def test_request_without_both_signatures_is_refused(signers: tuple[SigningKey, ...]) -> None:
    with pytest.raises(EnrolmentRefusedError) as caught:
        check_signatures(read_enrolment(envelope(*signers), fleet=FLEET), TOKEN.public)
    assert (caught.value.code, caught.value.status) == ("enrolment_refused", 403)


def test_token_key_is_no_agent_key() -> None:
    read = read_enrolment(envelope(TOKEN, agent_pub=TOKEN.public.to_b64()), fleet=FLEET)
    with pytest.raises(EnrolmentRefusedError):
        check_signatures(read, TOKEN.public)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (envelope(payload_type=PayloadType.REPORT), 400),
        (sign_envelope(PayloadType.ENROLL, b'{"v":1}', TOKEN).to_bytes(), 400),
        (envelope(fleet="01a1fd57-f0ad-718f-9e34-91b9d7655418"), 403),
    ],
    ids=["empty", "no-envelope", "type", "schema", "fleet"],
)
def test_request_that_is_none_of_ours_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(EnrolmentRefusedError) as caught:
        read_enrolment(data, fleet=FLEET)
    assert caught.value.status == status


def digest_of(gen: int) -> bytes:
    return hashlib.sha256(b"%d" % gen).digest()


def standing(confirmed: int, issued: int) -> Generations:
    return Generations(
        confirmed=confirmed,
        confirmed_hash=digest_of(confirmed) if confirmed else None,
        issued=issued,
        issued_hash=digest_of(issued) if issued else None,
    )


@pytest.mark.parametrize(
    ("confirmed", "issued", "gen", "step"),
    [
        (1, 1, 1, RenewalStep.ISSUE),
        (1, 2, 1, RenewalStep.ISSUE),  # the answer was lost
        (1, 2, 2, RenewalStep.CONFIRM_AND_ISSUE),
        (0, 1, 1, RenewalStep.CONFIRM_AND_ISSUE),  # right after enrolment
        (3, 3, 2, RenewalStep.ENDED),
        (3, 4, 1, RenewalStep.ENDED),
    ],
)
def test_renewal_follows_the_generations(confirmed: int, issued: int, gen: int, step: RenewalStep) -> None:
    assert renewal_step(standing(confirmed, issued), gen, digest_of(gen)) is step


@pytest.mark.parametrize(
    ("confirmed", "issued", "gen", "step"),
    [
        (0, 1, 1, RenewalStep.CONFIRM),
        (1, 2, 2, RenewalStep.CONFIRM),
        (2, 2, 2, RenewalStep.CONFIRMED_ALREADY),
        (2, 3, 2, RenewalStep.CONFIRMED_ALREADY),
        (2, 2, 1, RenewalStep.ENDED),
    ],
)
def test_confirmation_follows_the_generations(
    confirmed: int, issued: int, gen: int, step: RenewalStep
) -> None:
    assert confirmation_step(standing(confirmed, issued), gen, digest_of(gen)) is step


@pytest.mark.parametrize("decide", [renewal_step, confirmation_step])
@pytest.mark.parametrize("gen", [0, 1, 2, 3])
def test_wrong_secret_or_number_is_refused(decide: Any, gen: int) -> None:
    with pytest.raises(EnrolmentRefusedError) as caught:
        decide(standing(1, 2), gen, secrets.token_bytes(32))
    assert (caught.value.code, caught.value.status) == ("secret", 403)


@pytest.mark.parametrize("decide", [renewal_step, confirmation_step])
def test_agent_without_any_generation_is_refused(decide: Any) -> None:
    for gen in (0, 1):
        with pytest.raises(EnrolmentRefusedError):
            decide(standing(0, 0), gen, digest_of(gen))


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"hostname": "web-1"}, "web-1"),
        ({}, "host-aaaaaaaaaaaa"),
        ({"hostname": 3}, "host-aaaaaaaaaaaa"),
        ({"hostname": "evil\x1b[2J"}, "host-aaaaaaaaaaaa"),
        ({"hostname": "x" * 300}, "host-aaaaaaaaaaaa"),
    ],
)
def test_hostname_is_usable_text(facts: dict[str, object], name: str) -> None:
    assert hostname_of(facts, "a" * 64) == name
