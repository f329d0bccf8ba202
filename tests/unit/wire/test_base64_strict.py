"""E12: one spelling for any bytes (measured fact M11)."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire import base64_strict
from redflag_wire.errors import Base64RefusedError
from tests.unit.wire.samples import STEADY


@given(st.binary(max_size=100))
@STEADY
def test_bytes_round_trip(data: bytes) -> None:
    assert base64_strict.decode(base64_strict.encode(data)) == data
    assert base64_strict.decode_url(base64_strict.encode_url(data)) == data
    assert base64_strict.encode(data) == base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "text",
    ["YWI", "YWJ=", "YWI==", "YW I=", " YWI=", "YWI=\n", "YWI=YWI=", "Y===", "=", "====", "YQ=", "YR==", "-_8=",
     "YWI\u00e9", "\uff39WI=", "YWJj=", "YWJj====", "Y\0I="],
)  # fmt: skip
def test_other_standard_spellings_are_refused(text: str) -> None:
    with pytest.raises(Base64RefusedError) as refused:
        base64_strict.decode(text)
    assert refused.value.code == "base64"


@pytest.mark.parametrize("text", ["YWI=", "YWJ", "Y", "YR", "+/8", "YW I", "YWI\n", "YWJj=", "=", "\u0663WI"])
def test_other_url_spellings_are_refused(text: str) -> None:
    with pytest.raises(Base64RefusedError):
        base64_strict.decode_url(text)


@given(st.text("YWJjQ+/-_= \n", max_size=12))
@STEADY
def test_whatever_is_decoded_encodes_to_the_same_text(text: str) -> None:
    for decode, encode in (
        (base64_strict.decode, base64_strict.encode),
        (base64_strict.decode_url, base64_strict.encode_url),
    ):
        try:
            data = decode(text)
        except Base64RefusedError:
            continue
        assert encode(data) == text
