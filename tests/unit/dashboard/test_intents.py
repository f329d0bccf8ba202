"""Signing what an operator wants."""

import secrets
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from redflag_dashboard.changes import Changes
from redflag_dashboard.intents import PAYLOAD_MAX_BYTES, IntentTooLargeError, sign_intent
from redflag_dashboard.metrics import Metrics
from redflag_dashboard.parts import Parts
from redflag_wire.clock import ManualClock
from redflag_wire.envelope import digest, parse_envelope, verify_envelope
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.intent import Intent, IntentVerb
from redflag_wire.limits import ENVELOPE_MAX_BYTES
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import SigningKey


@pytest.fixture
def parts() -> Parts:
    metrics = Metrics(CollectorRegistry(), "1")
    return Parts(
        sessions=cast("Any", None),
        clock=ManualClock(datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)),
        random=secrets.token_bytes,
        intent_key=SigningKey.generate(secrets.token_bytes),
        fleet=UUID(int=9),
        gateway_origin="https://g.example.org",
        changes=Changes(metrics),
        metrics=metrics,
        version="1",
    )


def sign(parts: Parts, params: dict[str, Any], operator: str = "admin") -> Any:
    return sign_intent(
        parts, operator=operator, key_id=UUID(int=3), op=UUID(int=4), verb=IntentVerb.SCAN,
        targets=[UUID(int=5)], params=params,
    )  # fmt: skip


def test_an_intent_says_who_what_and_for_whom(parts: Parts) -> None:
    data = sign(parts, {"subsystem": "apt", "refresh": True})
    verified = verify_envelope(parse_envelope(data.envelope), PayloadType.INTENT, [parts.intent_key.public])
    intent = Intent.from_bytes(verified.payload)
    assert data.digest == digest(verified.payload)
    assert (intent.intent, intent.operator, intent.verb) == (data.id, "admin", "scan")
    assert intent.session == f"key:{UUID(int=3)}"
    assert intent.targets == [UUID(int=5)]
    assert intent.at == datetime(2026, 11, 21, 8, 0, 0, 123000, tzinfo=UTC)
    assert data.correlation_id == UUID(int=4)


def test_an_intent_that_fits_leaves_room_for_its_command(parts: Parts) -> None:
    assert len(sign(parts, {"x": ["a" * 1000] * 180}).envelope) < ENVELOPE_MAX_BYTES
    with pytest.raises(IntentTooLargeError) as caught:
        sign(parts, {"x": ["a" * 1000] * 200})
    assert caught.value.size > PAYLOAD_MAX_BYTES


def test_an_operator_s_name_the_wire_refuses_is_an_error_of_the_wire(parts: Parts) -> None:
    with pytest.raises(SchemaRefusedError):
        sign(parts, {}, operator="a\x1b[2J")
