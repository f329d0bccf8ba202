"""When a scan is due, and what keeps it from being made."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag_dispatcher.schedule_rules import (
    BATCH_MAX,
    BATCH_MIN,
    FIRST_WITHIN_S,
    Due,
    Outcome,
    Times,
    after_run,
    batch_size,
    covering_keys,
    held_s,
    judge,
    planned,
)
from redflag_store.subsystem_rules import built_in

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DUE = Due(
    name="apt",
    due_at=NOW,
    interval_s=3600,
    last_made_at=NOW - HOUR,
    active=True,
    version="1.0.0",
    last_seen_at=NOW,
    fast=False,
)

shares = st.floats(0, 1, exclude_max=True)


def judged(due: Due, *, pending: int = 0, covered: bool = False, minimum: str | None = None) -> Outcome:
    return judge(due, pending=pending, most=10, covered=covered, minimum=minimum)


def test_what_is_due_is_made() -> None:
    assert judged(DUE) is Outcome.MADE
    assert judged(DUE, pending=9, minimum="1.0.0") is Outcome.MADE
    assert judged(replace(DUE, last_made_at=None, last_seen_at=None)) is Outcome.MADE


@pytest.mark.parametrize(
    ("due", "given_", "expected"),
    [
        (DUE, {"pending": 10}, Outcome.TOO_MANY),
        (DUE, {"covered": True, "pending": 10}, Outcome.PENDING),
        (DUE, {"minimum": "1.0.1"}, Outcome.TOO_OLD),
        (replace(DUE, version=None), {"minimum": "0.1"}, Outcome.TOO_OLD),
        (replace(DUE, active=False), {}, Outcome.NOT_ACTIVE),
        (replace(DUE, last_seen_at=NOW - HOUR), {}, Outcome.ASLEEP),
        (replace(DUE, last_seen_at=None), {}, Outcome.ASLEEP),
        (replace(DUE, last_seen_at=NOW - 2 * HOUR), {"covered": True}, Outcome.ASLEEP),
    ],
)
def test_what_keeps_a_scan_from_being_made(due: Due, given_: dict[str, object], expected: Outcome) -> None:
    assert judged(due, **given_) is expected  # type: ignore[arg-type]


def test_a_scan_of_everything_covers_each_subsystem() -> None:
    assert covering_keys("apt") == ("scan:apt", "scan:all")


@given(
    late_s=st.integers(0, 30 * 86_400),
    interval_s=st.integers(60, 86_400),
    jitter=st.integers(0, 50),
    r=shares,
)
def test_a_late_run_is_followed_by_one_run_at_its_own_place(
    late_s: int, interval_s: int, jitter: int, r: float
) -> None:
    due = replace(DUE, due_at=NOW - timedelta(seconds=late_s), interval_s=interval_s)
    times = after_run(due, NOW, jitter_percent=jitter, random=lambda: r)
    ahead_s = (times.due_at - NOW).total_seconds()
    assert interval_s * 0.5 <= ahead_s <= interval_s * 1.5
    assert (times.due_at - due.due_at).total_seconds() % interval_s == 0
    assert 0 <= (times.next_run_at - times.due_at).total_seconds() <= interval_s * jitter / 100


def test_a_run_in_time_is_followed_after_one_interval() -> None:
    times = after_run(DUE, NOW, jitter_percent=0, random=lambda: 0.9)
    assert times == Times(NOW + HOUR, NOW + HOUR)


def test_hosts_that_were_spread_are_spread_after_an_outage_too() -> None:
    places = [
        after_run(
            replace(DUE, due_at=NOW - timedelta(hours=50, minutes=minute)),
            NOW,
            jitter_percent=0,
            random=lambda: 0.0,
        ).due_at
        for minute in range(60)
    ]
    assert len(set(places)) == 60


def test_hosts_that_joined_together_fall_apart() -> None:
    joined = replace(DUE, last_made_at=None)
    early = after_run(joined, NOW, jitter_percent=0, random=lambda: 0.0)
    late = after_run(joined, NOW, jitter_percent=0, random=lambda: 0.999)
    assert early.due_at == NOW + HOUR / 2
    assert late.due_at - early.due_at > 0.99 * HOUR


def test_a_host_in_fast_mode_waits_for_no_jitter() -> None:
    times = after_run(replace(DUE, fast=True), NOW, jitter_percent=50, random=lambda: 0.9)
    assert times.next_run_at == times.due_at == NOW + HOUR


VALUES = replace(built_in("apt"), interval_s=3600)


def plan_of(
    *,
    values: object = VALUES,
    active: bool = True,
    old: Times | None = None,
    old_interval_s: int | None = None,
    last_made_at: datetime | None = None,
    fast: bool = False,
    r: float = 0.5,
) -> Times | None:
    return planned(
        values,  # type: ignore[arg-type]
        active=active,
        now=NOW,
        old=old,
        old_interval_s=old_interval_s,
        last_made_at=last_made_at,
        fast=fast,
        jitter_percent=10,
        random=lambda: r,
    )


@pytest.mark.parametrize("off", [{"enabled": False}, {"auto_run": False}])
def test_what_is_off_does_not_run_by_itself(off: dict[str, bool]) -> None:
    old = Times(NOW, NOW)
    assert plan_of(values=replace(VALUES, **off), old=old, old_interval_s=3600) is None
    assert plan_of(active=False, old=old, old_interval_s=3600) is None


def test_an_unchanged_interval_keeps_its_times() -> None:
    old = Times(NOW + HOUR / 3, NOW + HOUR / 2)
    assert plan_of(old=old, old_interval_s=3600, last_made_at=NOW - HOUR) == old


def test_a_new_host_is_looked_at_soon() -> None:
    times = plan_of(r=0.999)
    assert times is not None
    assert times.next_run_at - NOW <= timedelta(seconds=FIRST_WITHIN_S)
    assert plan_of(fast=True) == Times(NOW, NOW)


def test_a_changed_interval_counts_from_the_last_run() -> None:
    old = Times(NOW + 20 * HOUR, NOW + 20 * HOUR)
    times = plan_of(old=old, old_interval_s=86_400, last_made_at=NOW - HOUR / 2, r=0.0)
    assert times == Times(NOW + HOUR / 2, NOW + HOUR / 2)


@given(r=shares)
def test_a_shorter_default_makes_nobody_due_at_once_together(r: float) -> None:
    old = Times(NOW + 10 * HOUR, NOW + 10 * HOUR)
    times = plan_of(old=old, old_interval_s=86_400, last_made_at=NOW - 14 * HOUR, r=r)
    assert times is not None
    assert times.next_run_at - NOW == timedelta(seconds=3600 * r)


@given(st.sampled_from(Outcome), shares)
def test_what_is_held_is_looked_at_again(outcome: Outcome, r: float) -> None:
    assert 1 <= held_s(outcome, lambda: r) <= 1.5 * 3600


def test_a_refused_rate_says_how_long() -> None:
    assert held_s(Outcome.RATE_LIMITED, lambda: 0.0, retry_after_s=42.0) == 42.0


@given(st.integers(1, 10_000_000))
def test_a_step_makes_a_bounded_number(per_minute: int) -> None:
    assert BATCH_MIN <= batch_size(per_minute) <= BATCH_MAX
