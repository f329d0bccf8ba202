from datetime import timedelta
from typing import Any

import pytest

from redflag_dispatcher.errors import IntentRefusedError
from redflag_dispatcher.intent_check import (
    CLOCK_SKEW,
    KINDS_OF_VERB,
    CheckedIntent,
    RequestedCommand,
    check_command,
    check_intent,
)
from redflag_wire.command import LONGEST_LIFE, CommandKind
from redflag_wire.ids import new_id
from redflag_wire.intent import IntentVerb
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope
from tests.unit.dispatcher.signers import CLOCK, FLEET, NOW, make_intent, make_key, seal

KEY = make_key()
AGENT = new_id(CLOCK)


def checked(**changes: Any) -> CheckedIntent:
    return check_intent(seal(make_intent(AGENT, **changes), KEY), [KEY.public], fleet=FLEET)


def wanted(by: CheckedIntent, **changes: Any) -> RequestedCommand:
    values: dict[str, Any] = {
        "command": new_id(CLOCK),
        "agent": AGENT,
        "intent": by.intent.intent,
        "kind": "scan",
        "params": {"subsystem": "apt"},
        **changes,
    }
    return RequestedCommand(**values)


def code_of(by: CheckedIntent, **changes: Any) -> str:
    with pytest.raises(IntentRefusedError) as caught:
        check_command(by, wanted(by, **changes), now=NOW)
    return caught.value.code


def test_command_within_its_intent_passes() -> None:
    intent = checked()
    assert check_command(intent, wanted(intent), now=NOW) is CommandKind.SCAN


def test_defaults_may_be_written_or_left_out() -> None:
    intent = checked()
    spelt_out = wanted(intent, params={"subsystem": "apt", "refresh": True})
    assert check_command(intent, spelt_out, now=NOW) is CommandKind.SCAN


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"agent": new_id(CLOCK)}, "intent_target"),
        ({"intent": new_id(CLOCK)}, "intent_id"),
        ({"intent": None}, "intent_id"),
        ({"kind": "reboot", "params": {}}, "intent_kind"),
        ({"kind": "install_updates"}, "intent_kind"),
        ({"kind": "; rm -rf /"}, "intent_kind"),
        ({"params": {}}, "intent_params"),
        ({"params": {"subsystem": "apt", "refresh": False}}, "intent_params"),
        ({"params": {"subsystem": "apt", "more": 1}}, "intent_params"),
    ],
)
def test_command_beyond_its_intent_is_refused(changes: dict[str, Any], code: str) -> None:
    assert code_of(checked(), **changes) == code


@pytest.mark.parametrize("verb", [verb for verb in IntentVerb if verb not in KINDS_OF_VERB])
def test_verb_that_commands_nothing_is_refused(verb: IntentVerb) -> None:
    assert code_of(checked(verb=verb)) == "intent_verb"


def test_intent_counts_for_as_long_as_its_command_could_live() -> None:
    life = LONGEST_LIFE[CommandKind.SCAN]
    young = checked(at=NOW - life + timedelta(seconds=1))
    check_command(young, wanted(young), now=NOW)
    assert code_of(checked(at=NOW - life)) == "intent_expired"


def test_intent_of_the_future_is_refused_beyond_the_skew() -> None:
    near = checked(at=NOW + CLOCK_SKEW)
    check_command(near, wanted(near), now=NOW)
    assert code_of(checked(at=NOW + CLOCK_SKEW + timedelta(seconds=1))) == "intent_future"


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        (seal(make_intent(AGENT), make_key()), "intent_signature"),
        (seal(make_intent(AGENT, fleet=str(new_id(CLOCK))), KEY), "intent_fleet"),
        (
            sign_envelope(PayloadType.COMMAND, make_intent(AGENT).to_bytes(), KEY).to_bytes(),
            "intent_payload_type",
        ),
        (sign_envelope(PayloadType.INTENT, b'{"v":1}', KEY).to_bytes(), "intent_schema"),
        (b"{}", "intent_keys"),
        (b"", "intent_json"),
    ],
    ids=["key", "fleet", "type", "schema", "envelope", "empty"],
)
def test_envelope_that_is_no_intent_of_this_fleet_is_refused(envelope: bytes, code: str) -> None:
    with pytest.raises(IntentRefusedError) as caught:
        check_intent(envelope, [KEY.public], fleet=FLEET)
    assert caught.value.code == code


def test_no_intent_key_means_no_intent() -> None:
    with pytest.raises(IntentRefusedError, match="no_key"):
        check_intent(seal(make_intent(AGENT), KEY), [], fleet=FLEET)
