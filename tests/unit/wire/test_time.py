"""Clocks, ids, timestamps, and a host's trusted time that never goes back."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_wire.clock import ManualClock, SystemClock
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.ids import new_id, parse_id
from redflag_wire.timestamps import format_timestamp, parse_timestamp
from redflag_wire.trusted_time import TrustedTime
from tests.unit.wire.samples import NOW, STEADY, counting_random

MINUTE = timedelta(minutes=1)


def test_there_is_no_time_before_a_beacon() -> None:
    assert TrustedTime(None).now(5.0) is None
    assert TrustedTime(NOW).now(5.0) is None


def test_time_is_the_beacon_plus_the_monotonic_clock() -> None:
    time = TrustedTime(None)
    assert time.observe(NOW, 100.0)
    assert time.now(100.0) == NOW
    assert time.now(160.0) == NOW + MINUTE
    assert time.high_water == NOW


def test_newer_beacon_moves_the_time_on() -> None:
    time = TrustedTime(None)
    time.observe(NOW, 100.0)
    assert time.observe(NOW + 10 * MINUTE, 160.0)
    assert time.now(160.0) == NOW + 10 * MINUTE
    assert time.high_water == NOW + 10 * MINUTE


def test_replayed_beacon_changes_nothing() -> None:
    time = TrustedTime(None)
    time.observe(NOW + 10 * MINUTE, 100.0)
    assert not time.observe(NOW, 160.0)
    assert time.now(160.0) == NOW + 11 * MINUTE
    assert time.high_water == NOW + 10 * MINUTE


def test_delayed_beacon_does_not_slow_the_time_down() -> None:
    time = TrustedTime(None)
    time.observe(NOW, 0.0)
    # An hour passes; beacons arrive half an hour late, each newer than the one before.
    for minute in range(1, 61):
        assert time.observe(NOW + minute * MINUTE / 2, minute * 60.0)
    assert time.now(3600.0) == NOW + 60 * MINUTE
    assert time.high_water == NOW + 30 * MINUTE


def test_after_a_restart_an_older_beacon_gives_no_time() -> None:
    time = TrustedTime(NOW)
    assert not time.observe(NOW - MINUTE, 1.0)
    assert time.now(2.0) is None
    assert time.high_water == NOW


def test_after_a_restart_the_same_beacon_serves_again() -> None:
    time = TrustedTime(NOW)
    assert time.observe(NOW, 1.0)
    assert time.now(61.0) == NOW + MINUTE


def test_monotonic_clock_that_goes_back_stands_still() -> None:
    time = TrustedTime(None)
    time.observe(NOW, 100.0)
    assert time.now(160.0) == NOW + MINUTE
    assert time.now(50.0) == NOW + MINUTE


def test_naive_beacon_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="aware"):
        TrustedTime(None).observe(datetime(2026, 1, 1), 0.0)  # noqa: DTZ001


@given(st.lists(st.tuples(st.integers(-10_000, 10_000), st.floats(0, 500), st.booleans()), max_size=30))
@STEADY
def test_trusted_time_never_goes_back(steps: list[tuple[int, float, bool]]) -> None:
    time, monotonic, latest, mark = TrustedTime(None), 0.0, None, None
    for offset, passed, restart in steps:
        monotonic += passed
        if restart:
            time, monotonic, latest = TrustedTime(time.high_water), 0.0, None
        before = time.now(monotonic)
        taken = time.observe(NOW + timedelta(seconds=offset), monotonic)
        after = time.now(monotonic)
        assert taken is (mark is None or NOW + timedelta(seconds=offset) >= mark)
        mark = time.high_water
        if before is not None:
            assert after is not None
            assert after >= before
        if after is not None:
            assert mark is not None
            assert after >= mark
            assert latest is None or after >= latest
            latest = after


def test_manual_clock_moves_when_told() -> None:
    clock = ManualClock(NOW)
    began = clock.monotonic()
    clock.advance(90)
    assert clock.now() == NOW + timedelta(seconds=90)
    assert clock.monotonic() - began == 90
    clock.set_now(NOW - timedelta(days=3650))
    assert clock.now() == NOW - timedelta(days=3650)
    assert clock.monotonic() - began == 90
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    for wrong in (lambda: ManualClock(datetime(2026, 1, 1)), lambda: clock.set_now(datetime(2026, 1, 1))):  # noqa: DTZ001
        with pytest.raises(ValueError, match="aware"):
            wrong()


def test_system_clock_is_aware_and_moves_on() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()


def test_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    clock, random = ManualClock(NOW), counting_random()
    made = []
    for _ in range(50):
        made.append(new_id(clock, random))
        clock.advance(0.001)
    assert made == sorted(made)
    assert len(set(made)) == 50
    for one in made:
        assert (one.version, one.variant) == (7, "specified in RFC 4122")
    assert made[0].int >> 80 == int(NOW.timestamp() * 1000)


def test_id_uses_all_its_random_bits() -> None:
    clock = ManualClock(NOW)
    low, high = new_id(clock, bytes), new_id(clock, lambda count: b"\xff" * count)
    assert (low.int ^ high.int).bit_count() == 74


@pytest.mark.parametrize(
    "text",
    ["", "x", "0192F0C1-2E3D-7ABC-8DEF-0123456789AB", "0192f0c12e3d7abc8def0123456789ab",
     "{0192f0c1-2e3d-7abc-8def-0123456789ab}", "urn:uuid:0192f0c1-2e3d-7abc-8def-0123456789ab",
     "0192f0c1-2e3d-7abc-8def-0123456789ab\n", "0192f0c1-2e3d-7abc-8def-0123456789a\u0661"],
)  # fmt: skip
def test_other_spellings_of_an_id_are_refused(text: str) -> None:
    with pytest.raises(SchemaRefusedError, match="id"):
        parse_id(text)


@given(st.uuids())
@STEADY
def test_id_text_round_trips(one: UUID) -> None:
    assert parse_id(str(one)) == one


@given(st.datetimes(timezones=st.just(UTC)))
@STEADY
def test_timestamp_round_trips_to_the_millisecond(moment: datetime) -> None:
    text = format_timestamp(moment)
    assert len(text) == len("2026-01-01T00:00:00.000Z")
    assert parse_timestamp(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-01T12:00:00Z", 0),
        ("2026-01-01T12:00:00.1Z", 100_000),
        ("2026-01-01T12:00:00.000001Z", 1),
        ("2026-01-01T12:00:00.123456Z", 123_456),
    ],
)
def test_fractions_are_read(text: str, micros: int) -> None:
    assert parse_timestamp(text) == NOW + timedelta(microseconds=micros)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01T12:00:00",
        "2026-01-01T12:00:00+00:00",
        "2026-01-01T12:00:00z",
        "2026-01-01t12:00:00Z",
        "2026-01-01 12:00:00Z",
        "2026-01-01T12:00:00.Z",
        "2026-01-01T12:00:00.1234567Z",
        "2026-01-01T12:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T12:00:60Z",
        "2026-02-30T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "0000-01-01T12:00:00Z",
        "2026-01-01T12:00:00Z\n",
        "\u0662026-01-01T12:00:00Z",
        "20260101T120000Z",
        "-2026-01-01T12:00:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(SchemaRefusedError) as refused:
        parse_timestamp(text)
    assert refused.value.code == "timestamp"


def test_only_aware_utc_times_are_written() -> None:
    for wrong in (datetime(2026, 1, 1), NOW.astimezone(timezone(timedelta(hours=2)))):  # noqa: DTZ001
        with pytest.raises(SchemaRefusedError, match="timestamp"):
            format_timestamp(wrong)
