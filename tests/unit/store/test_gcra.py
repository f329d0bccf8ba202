from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_store.gcra import Rate, free, grant

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_burst_passes_at_once_and_then_the_average() -> None:
    rate = Rate(per_period=60, period_s=60, burst=5)
    first = grant(rate, None, NOW, 100)
    assert first.count == 5
    assert first.wait_s == pytest.approx(1)
    assert grant(rate, first.tat, NOW, 1).count == 0
    assert grant(rate, first.tat, after(0.99), 1).count == 0
    assert grant(rate, first.tat, after(1), 10).count == 1
    assert grant(rate, first.tat, after(3600), 100).count == 5


def test_what_did_not_pass_costs_nothing() -> None:
    rate = Rate(60, 60, 1)
    tat = grant(rate, None, NOW, 1).tat
    for _ in range(100):
        tat = grant(rate, tat, NOW, 1).tat
    assert grant(rate, tat, after(1), 1).count == 1


def test_asking_what_is_free_takes_nothing() -> None:
    rate = Rate(60, 60, 3)
    assert free(rate, None, NOW) == 3
    assert free(rate, grant(rate, None, NOW, 2).tat, NOW) == 1


@pytest.mark.parametrize("ahead_s", [3600, 10**9])
def test_moment_far_ahead_counts_as_one_burst(ahead_s: float) -> None:
    # A rate that was lowered and raised again, or a clock that was set back: nobody waits for years.
    rate = Rate(60, 60, 5)
    assert grant(rate, after(ahead_s), NOW, 1).wait_s == pytest.approx(1)


@pytest.mark.parametrize("parts", [(0, 60, 1), (1, 0, 1), (1, 60, 0)])
def test_rate_is_made_of_numbers_above_zero(parts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Rate(*parts)


@given(
    per_period=st.integers(1, 10_000_000),
    period_s=st.sampled_from([1, 60, 3600]),
    burst=st.integers(1, 1000),
    asks=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 2000)), max_size=30),
)
def test_never_more_than_burst_and_average(
    per_period: int, period_s: int, burst: int, asks: list[tuple[float, int]]
) -> None:
    rate = Rate(per_period, period_s, burst)
    tat, now, passed = None, NOW, 0
    for pause, wanted in asks:
        now += timedelta(seconds=pause)
        one = grant(rate, tat, now, wanted)
        assert 0 <= one.count <= wanted
        tat, passed = one.tat, passed + one.count
        elapsed_us = (now - NOW) // timedelta(microseconds=1)
        assert passed <= burst + elapsed_us * per_period // (period_s * 1_000_000)
