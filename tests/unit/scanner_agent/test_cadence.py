import random
from collections import Counter
from itertools import pairwise

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


AGENTS = 1_000


def polls_of_a_fleet(seed: int, hours: int = 2) -> list[list[float]]:
    """The moments at which agents poll that one script installed in one second, of each agent its own list."""
    source = random.Random(seed)  # noqa: S311 - the same numbers every time
    fleet = []
    for _ in range(AGENTS):
        now, moments = 0.0, [0.0]
        while now < hours * 3600:
            now += cadence.normal_delay(None, source.uniform)
            moments.append(now)
        fleet.append(moments)
    return fleet


def share_in_busiest_second(moments: list[float]) -> float:
    counted = Counter(int(one) for one in moments)
    return max(counted.values()) / AGENTS


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousand_agents_installed_by_one_script_do_not_poll_as_one(seed: int) -> None:
    fleet = polls_of_a_fleet(seed)
    assert share_in_busiest_second([moments[0] for moments in fleet]) == 1.0
    # From their first interval on they lie over 150 s: about 7 in each second, by chance up to three times that.
    assert share_in_busiest_second([moments[1] for moments in fleet]) < 0.025
    last_hour = [one for moments in fleet for one in moments if 3600 <= one < 7200]
    busiest, expected = Counter(int(one) for one in last_hour), len(last_hour) / 3600
    assert max(busiest.values()) < expected * 6
    gaps = [second - first for moments in fleet for first, second in pairwise(moments)]
    assert all(300 <= gap <= 450 for gap in gaps)
    assert (
        370 < sum(gaps) / len(gaps) < 380
    )  # an interval and a quarter: nobody polls more than was asked for


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_server_that_comes_back_is_not_met_by_everybody_at_once(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - the same numbers every time
    outage = 3600.0
    first_seen = []
    for _ in range(AGENTS):
        now, failures = 0.0, 0
        while now < outage:
            failures += 1
            now += cadence.failure_delay(failures, None, source.uniform)
        first_seen.append(now - outage)
    assert max(first_seen) <= cadence.BACKOFF_MOST_S
    assert share_in_busiest_second(first_seen) < 0.03
    thirds = [sum(1 for one in first_seen if low <= one < low + 100) for low in (0, 100, 200)]
    assert thirds[0] < AGENTS * 0.65  # full jitter: those that wait longest come latest, nobody is bunched


@pytest.mark.parametrize("seed", [1, 2])
def test_fleet_that_is_told_to_wait_comes_back_after_the_wait_and_spread(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - the same numbers every time
    waits = [cadence.failure_delay(6, 120.0, source.uniform) for _ in range(AGENTS)]
    assert min(waits) >= 120
    assert max(waits) <= 120 + 32
    assert share_in_busiest_second(waits) < 0.07
