"""E12: what Python's parser lets through (measured fact M10) is refused, and nothing costs more than one pass."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import limits, strict_json
from redflag_wire.errors import JsonRefusedError
from tests.unit.wire.samples import STEADY

MEGABYTE = 1024 * 1024


def code_of(data: bytes, **settings: Any) -> str:
    with pytest.raises(JsonRefusedError) as refused:
        strict_json.loads(data, **settings)
    return refused.value.code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "syntax"),
        (b" ", "syntax"),
        (b"{", "syntax"),
        (b'{"a":1}x', "syntax"),
        (b"{'a':1}", "syntax"),
        (b"[1,]", "syntax"),
        (b"[01]", "syntax"),
        (b"[+1]", "syntax"),
        (b"[.5]", "syntax"),
        (b"[1.]", "syntax"),
        (b"[0x1]", "syntax"),
        (b"]", "syntax"),
        (b"\x00", "syntax"),
        (b"// c\n1", "syntax"),
        (b'["\x01"]', "syntax"),
        (b'["a\nb"]', "syntax"),
        (b'["\\x41"]', "syntax"),
        (b'["\\u12"]', "syntax"),
        (b'"abc', "syntax"),
        (b'"abc\\', "syntax"),
        (b"\xef\xbb\xbf{}", "bom"),
        ("{}".encode("utf-16"), "utf8"),
        ("{}".encode("utf-16-le"), "syntax"),
        (b'["\xff"]', "utf8"),
        (b'["\xc0\xaf"]', "utf8"),
        (b'["\xed\xa0\x80"]', "utf8"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"a":1,"\\u0061":2}', "duplicate_key"),
        (b'[{"b":{"a":1,"a":2}}]', "duplicate_key"),
        (b"NaN", "number"),
        (b"[Infinity]", "number"),
        (b"[-Infinity]", "number"),
        (b"[1e400]", "number"),
        (b"[-1e400]", "number"),
        (b"[9007199254740992]", "number"),
        (b"[-9007199254740992]", "number"),
        (b"[" + b"1" * 5000 + b"]", "number"),
        (b"[1." + b"1" * 5000 + b"]", "number"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\\udc00\\ud800"]', "surrogate"),
        (b'{"\\uDFFF":1}', "surrogate"),
        (b'[{"a":["\\ud83d"]}]', "surrogate"),
        (b'["\\u0000"]', "nul"),
        (b'{"a\\u0000":1}', "nul"),
        (b"[" * 17 + b"]" * 17, "too_deep"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "too_deep"),
        (b"[" * 100_000, "too_many_items"),
        (b"[" * 50_000, "too_deep"),
        (b'["' + b"x" * (limits.STRING_MAX_BYTES + 1) + b'"]', "string_too_long"),
        (b'{"' + b"x" * (limits.STRING_MAX_BYTES + 1) + b'":1}', "string_too_long"),
        (b'"' + b"x" * (limits.STRING_MAX_BYTES + 2), "string_too_long"),
    ],
)
def test_bad_json_is_refused(data: bytes, code: str) -> None:
    assert code_of(data) == code


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"1", 1),
        (b' {"a" : [1, 2.5, null, true, "x"]}\r\n', {"a": [1, 2.5, None, True, "x"]}),
        (b"[9007199254740991,-9007199254740991]", [2**53 - 1, 1 - 2**53]),
        ('["\u00fc\u2603\U0001f600"]'.encode(), ["\u00fc\u2603\U0001f600"]),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
        (b'["\\\\u0000 \\\\ud800"]', ["\\u0000 \\ud800"]),
        (b'["[[[[[[[[[[[[[[[[[[[[[[[["]', ["[[[[[[[[[[[[[[[[[[[[[[[["]),
        (b'["\\"[[[[[[[[[[[[[[[[[[[[[["]', ['"[[[[[[[[[[[[[[[[[[[[[[']),
        (b"[" * 16 + b"]" * 16, [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]),
        (b'["' + b"x" * limits.STRING_MAX_BYTES + b'"]', ["x" * limits.STRING_MAX_BYTES]),
    ],
)
def test_good_json_is_read(data: bytes, value: object) -> None:
    assert strict_json.loads(data) == value


@pytest.mark.parametrize("data", [b"1.5", b"[1.0]", b"1e2", b"[-0.0]", b"1E400"])
def test_fractions_are_refused_where_only_integers_are_allowed(data: bytes) -> None:
    assert code_of(data, integers_only=True) == "number"


def test_limits_are_arguments() -> None:
    assert strict_json.loads(b"[[1]]", max_depth=2) == [[1]]
    assert code_of(b"[[[1]]]", max_depth=2) == "too_deep"
    assert strict_json.loads(b'{"a":1,"b":2}', max_keys=2) == {"a": 1, "b": 2}
    assert code_of(b'{"a":1,"b":{"c":2}}', max_keys=2) == "too_many_keys"
    assert code_of(b"[1,1,1,1,1]", max_keys=1) == "too_many_items"
    assert code_of(b"[" + b'"\\"\\"",' * 3 + b"1]", max_keys=1) == "too_many_items"
    assert code_of(b"    1", max_bytes=4) == "too_large"
    assert code_of(b'["abcde"]', max_string_bytes=4) == "string_too_long"
    assert strict_json.loads(b'["abcd"]', max_string_bytes=4) == ["abcd"]
    assert strict_json.loads(b'["\\u0000"]', allow_nul=True) == ["\0"]
    assert code_of(b'["\\u0000\\ud800"]', allow_nul=True) == "surrogate"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * (8 * MEGABYTE),
        b"1" * (8 * MEGABYTE),
        b"[" + b"[]," * (2 * MEGABYTE) + b"1]",
        b'"' + b'\\"' * (4 * MEGABYTE - 1),
        b'"\\"' * (2 * MEGABYTE),
        b'"' * (8 * MEGABYTE),
        b"\\" * (8 * MEGABYTE),
        b'{"a":' * MEGABYTE,
    ],
    ids=["brackets", "digits", "lists", "escaped quotes", "unterminated", "quotes", "backslashes", "objects"],
)
def test_hostile_megabytes_cost_one_pass(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(JsonRefusedError):
        strict_json.loads(data, max_keys=limits.INVENTORY_JSON_MAX_KEYS)
    assert time.process_time() - began < 2.0  # seconds; anything quadratic or recursive needs minutes


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc\u00fc", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
@STEADY
def test_what_is_dumped_is_read_back(value: Any) -> None:
    data = strict_json.dumps(value)
    assert strict_json.loads(data) == value
    assert strict_json.loads(json.dumps(value).encode()) == value


@given(st.text('{}[]",:\\u0d8 1e.-aN', max_size=40))
@STEADY
def test_it_accepts_nothing_the_standard_parser_refuses(text: str) -> None:
    try:
        value = strict_json.loads(text.encode())
    except JsonRefusedError:
        return
    assert json.loads(text) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, object(), {"a": b"x"}])
def test_what_is_no_json_is_not_written(value: object) -> None:
    with pytest.raises(JsonRefusedError, match="not_json"):
        strict_json.dumps(value)


def test_dumps_is_compact_and_keeps_the_order() -> None:
    assert strict_json.dumps({"b": 1, "a": ["\u00fc", None]}) == '{"b":1,"a":["\u00fc",null]}'.encode()
