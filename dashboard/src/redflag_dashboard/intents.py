"""Every change an operator asks for becomes a signed intent, stored with the rows it causes (docs/protocol.md 6).

The parameters of an intent are the parameters of the commands it leads to, so that the signer can hold one
against the other.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from redflag_dashboard.parts import Parts
from redflag_store.queries.intents import IntentData
from redflag_wire.envelope import digest
from redflag_wire.ids import new_id
from redflag_wire.intent import Intent, IntentVerb
from redflag_wire.limits import ENVELOPE_MAX_BYTES
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope

PAYLOAD_MAX_BYTES: Final = ENVELOPE_MAX_BYTES * 3 // 4 - 8192
"""Of an intent, so that the command of the same parameters, whose other fields take more, fits an envelope too."""


class IntentTooLargeError(Exception):
    """What is asked for does not fit one envelope; `size` is what it would take, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"this takes {size} bytes of at most {PAYLOAD_MAX_BYTES} in one command")
        self.size = size


def sign_intent(
    parts: Parts,
    *,
    operator: str,
    key_id: UUID,
    op: UUID,
    verb: IntentVerb,
    targets: Sequence[UUID],
    params: Mapping[str, Any],
) -> IntentData:
    """Sign what an operator wants.

    Args:
        parts: clock, randomness, key and fleet.
        operator: who.
        key_id: the API key it came by.
        op: the request's correlation id.
        verb: what.
        targets: hosts it is for.
        params: with what, as JSON values.

    Raises:
        IntentTooLargeError: too much for one intent.
        redflag_wire.errors.SchemaRefusedError: the parameters hold what the wire does not allow.
    """
    intent = Intent(
        fleet=str(parts.fleet),
        intent=new_id(parts.clock, parts.random),
        at=_whole_ms(parts.clock.now()),
        operator=operator,
        session=f"key:{key_id}",
        verb=verb,
        targets=list(targets),
        params=dict(params),
    )
    payload = intent.to_bytes()
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise IntentTooLargeError(len(payload))
    envelope = sign_envelope(PayloadType.INTENT, payload, parts.intent_key).to_bytes()
    return IntentData(
        id=intent.intent,
        envelope=envelope,
        digest=digest(payload),
        verb=verb.value,
        operator=operator,
        correlation_id=op,
    )


def _whole_ms(now: datetime) -> datetime:
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
