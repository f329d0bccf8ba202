"""What people write for subsystems, settings and fast mode, and what they read."""

from typing import Any

import pytest

from redflag.cli.fast import seconds_of
from redflag.cli.problems import UsageRefusedError
from redflag.cli.settings import read_value
from redflag.cli.subsystem_words import FIELDS, every, runs_cell, source_words, values_words
from redflag.cli.subsystems import Breaker, changed_values

NUMBER = {"key": "k", "least": 1, "most": 50, "unit": "percent"}
VERSION = {"key": "v", "least": None, "most": None, "unit": "version"}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(60, "1 min"), (90, "90 s"), (5400, "90 min"), (3600, "1 h"), (86_400, "24 h"), (None, "-")],
)
def test_a_time_is_shown_exactly(seconds: int | None, expected: str) -> None:
    assert every(seconds) == expected


def values(**given: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FIELDS), **given}


def test_values_read_as_a_sentence() -> None:
    assert (
        values_words(values(enabled=True, auto_run=False, interval_s=1800)) == "on, when asked, every 30 min"
    )
    assert values_words(values()) == "nothing set"
    assert values_words(values(breaker_failures=3, breaker_open_s=600)) == (
        "breaker opens after 3 failures, open for 10 min"
    )


def test_whether_it_runs_is_a_word_and_not_only_a_colour() -> None:
    shown = [runs_cell({"enabled": e, "auto_run": a}).text for e, a in ((1, 1), (1, 0), (0, 1))]
    assert shown == ["by itself", "when asked", "off"]


def test_sources_are_named_once() -> None:
    sources = {**dict.fromkeys(FIELDS, "built-in"), "auto_run": "group:web", "interval_s": "group:web"}
    assert source_words(sources) == "group web"
    assert source_words(dict.fromkeys(FIELDS, "built-in")) == "built-in"


def named(**given: Any) -> dict[str, Any]:
    empty = {"every": None, "timeout": None, "on": None, "auto": None, "reset": False}
    return changed_values(**{**empty, **given})


def test_what_is_named_is_sent_and_default_is_null() -> None:
    assert named(every="30m", on=False) == {"interval_s": 1800, "enabled": False}
    assert named(every="default", timeout="20") == {"interval_s": None, "timeout_s": 20}
    assert named(reset=True) == dict.fromkeys(FIELDS)
    assert named(empty=True) == {}


def test_a_breakers_values_are_sent_too() -> None:
    breaker = Breaker(failures="5", window="7d", open_="default", good="2")
    assert named(breaker=breaker) == {
        "breaker_failures": 5, "breaker_window_s": 604_800, "breaker_open_s": None, "breaker_half_open": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"every": "59s"},
        {"every": "25h"},
        {"every": "x"},
        {"timeout": "9s"},
        {"reset": True, "on": True},
        {"breaker": Breaker(failures="0")},
        {"breaker": Breaker(failures="101")},
        {"breaker": Breaker(good="x")},
        {"breaker": Breaker(window="8d")},
        {"breaker": Breaker(open_="59s")},
        {"reset": True, "breaker": Breaker(good="1")},
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageRefusedError):
        named(**given)


def test_a_settings_value_is_a_number_within_bounds_or_a_version() -> None:
    assert read_value(NUMBER, "50") == 50
    assert read_value(VERSION, "1.2.3") == "1.2.3"
    assert read_value(VERSION, "none") is None
    for text in ("0", "51", "-1", "1_0", "ten", "", "1.5", "none", "\u0664", "9" * 5000):
        with pytest.raises(UsageRefusedError, match="from 1 to 50"):
            read_value(NUMBER, text)


def test_fast_mode_has_bounds() -> None:
    assert seconds_of("10m") == 600
    for text in ("59s", "25h", "soon"):
        with pytest.raises(UsageRefusedError):
            seconds_of(text)
