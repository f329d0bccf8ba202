"""E5: fields removed, doubled, added, retyped in every payload, at every place; any JSON is read or refused."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import strict_json
from redflag_wire.enrolment import EnrollRequest
from redflag_wire.errors import SchemaRefusedError, WireError
from redflag_wire.payload import Payload
from redflag_wire.payload_types import PayloadType
from tests.unit.wire import samples
from tests.unit.wire.samples import NOW, STEADY
from tests.unit.wire.test_strict_json import JSON_VALUES

PAYLOADS = samples.payloads()
FREE_FORM = {"facts", "params"}  # objects without a schema of their own at this level
JUNK: list[Any] = [True, 0.5, -1, 2**53, 1, "1", "\u202e", "\0", "", [[]], {"?": 1}, None]

Path = tuple[str | int, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Give the path of every member and element that a schema speaks about."""
    steps: list[str | int] = []
    if isinstance(value, dict) and not (path and path[-1] in FREE_FORM):
        steps = list(value)
    elif isinstance(value, list):
        steps = list(range(len(value)))
    for step in steps:
        yield (*path, step)
        yield from places(value[step], (*path, step))


def changed(payload: Payload, path: Path, change: Callable[[Any, str | int], None]) -> bytes:
    """Return the payload's bytes with ``change(container, step)`` applied at ``path``."""
    value = json.loads(payload.to_bytes())
    container = value
    for step in path[:-1]:
        container = container[step]
    change(container, path[-1])
    return json.dumps(value).encode()


def refused(payload: Payload, data: bytes) -> None:
    with pytest.raises(SchemaRefusedError):
        type(payload).from_bytes(data)


each_payload = pytest.mark.parametrize("payload", PAYLOADS, ids=lambda one: type(one).__name__)


def test_every_payload_type_has_a_model_and_a_sample() -> None:
    assert {type(one).payload_type for one in PAYLOADS} == set(PayloadType)


@each_payload
def test_payload_is_read_back_from_its_bytes(payload: Payload) -> None:
    data = payload.to_bytes()
    assert type(payload).from_bytes(data) == payload
    assert type(payload).from_bytes(data).to_bytes() == data
    assert b" " not in data


@each_payload
def test_field_removed_is_refused(payload: Payload) -> None:
    def remove(container: Any, step: Any) -> None:
        del container[step]

    for name in json.loads(payload.to_bytes()):
        refused(payload, changed(payload, (name,), remove))


@each_payload
def test_unknown_field_is_refused_at_every_level(payload: Payload) -> None:
    def add(container: Any, _step: Any) -> None:
        if isinstance(container, dict):
            container["unknown"] = None
        else:
            container.append({"unknown": None})

    for path in places(json.loads(payload.to_bytes())):
        refused(payload, changed(payload, path, add))


@each_payload
def test_field_doubled_is_refused(payload: Payload) -> None:
    data = payload.to_bytes()
    for name, value in json.loads(data).items():
        again = json.dumps({name: value}).encode()[1:-1]
        refused(payload, data[:-1] + b"," + again + b"}")


@each_payload
def test_field_retyped_is_refused(payload: Payload) -> None:
    value = json.loads(payload.to_bytes())
    tried = 0
    for path in places(value):
        kept = value
        for step in path:
            kept = kept[step]
        for junk in JUNK:
            # The same JSON type may be another good value; null, and objects where they are free, may be good too.
            if type(junk) is type(kept) or junk is None or kept is None or isinstance(kept, dict | list):
                continue

            def put(container: Any, step: Any, junk: Any = junk) -> None:
                container[step] = junk

            refused(payload, changed(payload, path, put))
            tried += 1
    assert tried > 20


@each_payload
@pytest.mark.parametrize(
    "name", ["v", "fleet", "at", "now", "iat", "seq", "version", "agent", "kind", "verb"]
)
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_junk_in_a_plain_field_is_refused(payload: Payload, name: str, junk: Any) -> None:
    value = json.loads(payload.to_bytes())
    if name not in value or (junk == 1 and junk is not True and isinstance(value[name], int)):
        return
    refused(payload, json.dumps({**value, name: junk}).encode())


@each_payload
@given(data=st.data())
@STEADY
def test_any_json_in_a_field_is_read_or_refused(payload: Payload, data: st.DataObject) -> None:
    value = json.loads(payload.to_bytes())
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(JSON_VALUES)
    try:
        read = type(payload).from_bytes(json.dumps(value).encode())
    except WireError:
        return
    # What was accepted means what was written: nothing was coerced on the way.
    written = json.loads(read.to_bytes())[name]
    assert written == value[name]
    assert type(written) is type(value[name])


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"1"])
@each_payload
def test_no_object_is_refused(payload: Payload, data: bytes) -> None:
    refused(payload, data)


@each_payload
def test_version_other_than_1_is_refused(payload: Payload) -> None:
    value = json.loads(payload.to_bytes())
    for other in (0, 2, True, 1.0, "1", None):
        refused(payload, json.dumps({**value, "v": other}).encode())


def test_json_codes_are_told_apart() -> None:
    data = PAYLOADS[0].to_bytes()
    for bad, code in ((b"\xef\xbb\xbf" + data, "json_bom"), (data[:-1] + b',"v":1}', "json_duplicate_key")):
        with pytest.raises(SchemaRefusedError) as caught:
            type(PAYLOADS[0]).from_bytes(bad)
        assert caught.value.code == code


def test_constructor_refuses_with_the_same_family() -> None:
    for wrong in (
        {"rseq": "1"},
        {"rseq": True},
        {"rseq": 0},
        {"rseq": 2**53},
        {"kind": "x"},
        {"surprise": 1},
    ):
        with pytest.raises(SchemaRefusedError) as caught:
            samples.report(**wrong)
        assert caught.value.code == "schema"


def test_refusal_does_not_repeat_the_senders_values() -> None:
    secret = "S3CRET" * 5
    value = {**json.loads(PAYLOADS[0].to_bytes()), "nonce": secret}
    with pytest.raises(SchemaRefusedError) as caught:
        type(PAYLOADS[0]).from_bytes(json.dumps(value).encode())
    assert secret not in str(caught.value)
    assert "nonce" in caught.value.detail


def test_times_are_utc_and_hold_milliseconds() -> None:
    exact = NOW + timedelta(microseconds=123_456)
    made = samples.report(at=exact)
    assert made.at == NOW + timedelta(milliseconds=123)
    assert json.loads(made.to_bytes())["at"] == "2026-01-01T12:00:00.123Z"
    for wrong in (
        NOW.replace(tzinfo=None),
        NOW.astimezone(timezone(timedelta(hours=1))),
        1767225600,
        "2026-01-01",
    ):
        with pytest.raises(SchemaRefusedError):
            samples.report(at=wrong)
    assert samples.report(at=NOW.astimezone(timezone.utc)).at.tzinfo is UTC  # noqa: UP017


def test_models_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        samples.report().rseq = 8  # type: ignore[misc]


def test_agent_and_receipt_key_are_two_keys() -> None:
    enrol = next(one for one in PAYLOADS if isinstance(one, EnrollRequest))
    value = json.loads(enrol.to_bytes())
    refused(enrol, strict_json.dumps({**value, "receipt_pub": value["agent_pub"]}))


def test_small_order_key_in_a_payload_is_refused() -> None:
    enrol = next(one for one in PAYLOADS if isinstance(one, EnrollRequest))
    value = json.loads(enrol.to_bytes())
    refused(enrol, strict_json.dumps({**value, "agent_pub": "A" * 43 + "="}))
