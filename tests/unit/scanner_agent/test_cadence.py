import pytest

from redflag_scanner_agent import cadence


def least(low: float, _high: float) -> float:
    return low


def most(_low: float, high: float) -> float:
    return high


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [(None, 300, 450), (300, 300, 450), (60, 60, 90), (0, 5, 7.5), (-1, 5, 7.5), (1e9, 3600, 5400)],
)
def test_normal_delay_is_the_interval_and_up_to_half_more(
    asked: float | None, low: float, high: float
) -> None:
    assert cadence.normal_delay(asked, least) == low
    assert cadence.normal_delay(asked, most) == high


@pytest.mark.parametrize(
    ("failures", "ceiling"), [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10**6, 300)]
)
def test_failure_delay_doubles_up_to_its_ceiling_with_full_jitter(failures: int, ceiling: float) -> None:
    assert cadence.failure_delay(failures, None, least) == 0
    assert cadence.failure_delay(failures, None, most) == ceiling


@pytest.mark.parametrize(("asked", "wait"), [(0, 0), (30, 30), (1e9, 3600), (-5, 0)])
def test_retry_after_is_never_undercut(asked: float, wait: float) -> None:
    assert cadence.failure_delay(1, asked, least) == wait
    assert cadence.failure_delay(1, asked, most) == wait + 1


@pytest.mark.parametrize(
    ("took", "had", "delay"), [(55, False, 0), (0.2, True, 0), (0.25, False, 0.75), (1, False, 0)]
)
def test_long_polls_follow_each_other_unless_the_server_does_not_hold_them(
    took: float, had: bool, delay: float
) -> None:
    assert cadence.fast_delay(took, had) == delay


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 30, None),
        ("٣", None),
    ],
)
def test_retry_after_header(text: str | None, seconds: float | None) -> None:
    assert cadence.parse_retry_after(text) == seconds


def test_own_jitter_stays_within_its_bounds() -> None:
    drawn = [cadence.normal_delay(100, cadence.system_uniform) for _ in range(200)]
    assert all(100 <= one <= 150 for one in drawn)
    assert len(set(drawn)) > 100
