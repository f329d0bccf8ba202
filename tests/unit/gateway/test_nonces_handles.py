from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_gateway.handles import Delivery, HandleRefusedError, Handles, life_of, parse_delivery
from redflag_gateway.nonces import BUCKET_S, SeenNonces, ServerNonces
from redflag_gateway.shared_key import SharedKey, Use
from redflag_ops.errors import ConfigurationError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEY = SharedKey(b"k" * 32)
AGENT = UUID("0199c0de-0000-7000-8000-000000000001")
OTHER = UUID("0199c0de-0000-7000-8000-000000000002")
DELIVERY = Delivery(7, 3, 1, 1_795_249_807_814_299_112, 4, life_of("2026-11-21T12:00:00Z"))


def test_server_nonce_is_accepted_in_its_bucket_and_the_next_only() -> None:
    nonces = ServerNonces(KEY)
    nonce = nonces.current(NOW)
    assert nonces.accepts(nonce, NOW)
    assert nonces.accepts(nonce, NOW + timedelta(seconds=2 * BUCKET_S - 1))
    assert not nonces.accepts(nonce, NOW + timedelta(seconds=2 * BUCKET_S))
    assert not nonces.accepts(nonce, NOW - timedelta(seconds=1))


def test_server_nonce_is_good_at_another_gateway_with_the_key_only() -> None:
    nonce = ServerNonces(KEY).current(NOW)
    assert ServerNonces(SharedKey(b"k" * 32)).accepts(nonce, NOW)
    assert not ServerNonces(SharedKey(b"x" * 32)).accepts(nonce, NOW)


def test_challenge_and_nonce_never_fit_each_other() -> None:
    nonces, challenges = ServerNonces(KEY), ServerNonces(KEY, Use.CHALLENGE)
    assert not challenges.accepts(nonces.current(NOW), NOW)
    assert not nonces.accepts(challenges.current(NOW), NOW)


@given(st.text(max_size=60))
def test_any_other_text_is_no_server_nonce(text: str) -> None:
    assert not ServerNonces(KEY).accepts(text, NOW)


def test_current_nonce_changes_with_its_bucket() -> None:
    nonces = ServerNonces(KEY)
    first = nonces.current(NOW)
    assert nonces.current(NOW + timedelta(seconds=BUCKET_S - 1)) == first
    assert nonces.current(NOW + timedelta(seconds=BUCKET_S)) != first


def test_signature_nonce_is_new_once_while_its_server_nonce_could_be_used() -> None:
    seen = SeenNonces()
    assert seen.remember(AGENT, "n", NOW)
    for seconds in (0, BUCKET_S, 2 * BUCKET_S - 1):
        assert not seen.remember(AGENT, "n", NOW + timedelta(seconds=seconds))


def test_signature_nonces_of_agents_are_apart() -> None:
    seen = SeenNonces()
    assert seen.remember(AGENT, "n", NOW)
    assert seen.remember(OTHER, "n", NOW)


def test_memory_of_signature_nonces_is_bounded() -> None:
    seen = SeenNonces(limit=10)
    for number in range(1000):
        assert seen.remember(AGENT, str(number), NOW)
        assert len(seen) <= 20
    assert not seen.remember(AGENT, "999", NOW)
    assert seen.remember(AGENT, "new", NOW + timedelta(seconds=5 * BUCKET_S))
    assert len(seen) == 1


@pytest.mark.parametrize("raw", [b"", b"k" * 31])
def test_short_shared_key_is_refused(raw: bytes) -> None:
    with pytest.raises(ConfigurationError):
        SharedKey(raw)


def test_shared_key_that_is_no_hexadecimal_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        SharedKey.from_hex("zz" * 32)
    assert SharedKey.from_hex("6b" * 32).code(Use.NONCE, b"") == KEY.code(Use.NONCE, b"")


def test_handle_opens_for_its_agent() -> None:
    assert Handles(KEY).open(AGENT, Handles(SharedKey(b"k" * 32)).seal(AGENT, DELIVERY)) == DELIVERY


def test_handle_does_not_open_for_another_agent_or_key() -> None:
    handle = Handles(KEY).seal(AGENT, DELIVERY)
    with pytest.raises(HandleRefusedError):
        Handles(KEY).open(OTHER, handle)
    with pytest.raises(HandleRefusedError):
        Handles(SharedKey(b"x" * 32)).open(AGENT, handle)


def test_every_changed_character_of_a_handle_is_noticed() -> None:
    handle = Handles(KEY).seal(AGENT, DELIVERY)
    for at, character in enumerate(handle):
        with pytest.raises(HandleRefusedError):
            Handles(KEY).open(AGENT, handle[:at] + ("A" if character != "A" else "B") + handle[at + 1 :])
        with pytest.raises(HandleRefusedError):
            Handles(KEY).open(AGENT, handle[:at])


@given(st.text(max_size=200))
def test_any_other_text_is_no_handle(text: str) -> None:
    with pytest.raises(HandleRefusedError):
        Handles(KEY).open(AGENT, text)


def test_ack_subject_is_the_one_the_broker_gave() -> None:
    name = f"a-{AGENT.hex}"
    reply = f"$JS.ACK.CMD-14.{name}.1.7.3.1795249807814299112.4"
    assert parse_delivery(reply, AGENT, DELIVERY.life) == DELIVERY
    assert DELIVERY.ack_subject(AGENT) == reply


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "$JS.ACK.CMD-14",
        f"$JS.ACK.CMD-13.a-{AGENT.hex}.1.7.3.1.4",
        f"$JS.ACK.CMD-14.a-{OTHER.hex}.1.7.3.1.4",
        f"$JS.ACK.CMD-14.a-{AGENT.hex}.1.7.3.1.4.5",
        f"$JS.ACK.CMD-14.a-{AGENT.hex}.1.7.x.1.4",
    ],
)
def test_reply_subject_of_something_else_is_no_delivery(reply: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_delivery(reply, AGENT, DELIVERY.life)
