"""Versions of the agent compare as numbers; what is no version is older than all."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire.agent_version import is_below, parse, update_available

RISING = [
    "dev",
    "0.0.0.1",
    "0.9",
    "1.2.0-alpha.1",
    "1.2.0-alpha.2",
    "1.2.0-beta.1",
    "1.2.0rc2",
    "1.2.0rc10",
    "1.2",
    "1.2.0.1",
    "v1.2.3",
    "1.10.0",
    "2",
]


@pytest.mark.parametrize(("older", "newer"), list(itertools.pairwise(RISING)))
def test_order(older: str, newer: str) -> None:
    assert parse(older) < parse(newer)
    assert is_below(older, newer)
    assert not is_below(newer, older)
    assert update_available(older, newer)


@pytest.mark.parametrize("text", ["1.2", "v1.2", "V1.2.0", "1.2.0.0", "1.2.0+build5"])
def test_spellings_of_one_version_are_equal(text: str) -> None:
    assert parse(text) == parse("1.2.0.0")
    assert not update_available(text, "1.2")


@pytest.mark.parametrize(
    "text", [None, "", "dev", "unknown", "1..2", "1.2.3.4.5", "1.2\n", "\u0661.2", "-1.2"]
)
def test_no_version_is_older_than_all(text: str | None) -> None:
    assert not parse(text).is_known
    assert parse(text) < parse("0")
    assert is_below(text, "0.0.1")


def test_without_a_minimum_nothing_is_below_it() -> None:
    assert not is_below("dev", None)
    assert not update_available("dev", None)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_compare(one: str, other: str) -> None:
    assert (parse(one) < parse(other)) + (parse(one) == parse(other)) + (parse(one) > parse(other)) == 1
