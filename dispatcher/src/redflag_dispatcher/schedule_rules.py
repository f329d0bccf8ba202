"""When a subsystem is due, and what comes of a look at one that is. Pure: the time and the randomness are given.

Guarantees: a run that was missed is not made up for, and its time keeps its place in the interval, so hosts that
became due together after an outage fall apart again; the wait that spreads is never longer than the set share of
the interval; a host that was not seen since its last scan was made gets no other before it is seen; everything that
keeps a scan from being made leaves it due.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from redflag_store.dedupe_keys import dedupe_key
from redflag_store.subsystem_rules import Values
from redflag_wire import agent_version
from redflag_wire.command_params import CommandKind

FIRST_WITHIN_S: Final = 30.0  # a new host's first scans are made within this, whatever the interval
HELD_S: Final = 300.0  # a host that has too much pending is looked at again after this
HELD_TOO_OLD_S: Final = 3_600.0  # one whose agent is too old; its update ends the wait by itself
SOONEST_SHARE: Final = 0.5  # of the interval that lies at least between a late run and the next
BATCH_MAX: Final = 500  # scans made by one dispatcher in one step
BATCH_MIN: Final = 10


@dataclass(frozen=True, slots=True)
class Times:
    """When a subsystem runs: `due_at` without the wait that spreads, `next_run_at` with it."""

    due_at: datetime
    next_run_at: datetime


class Outcome(StrEnum):
    """What came of a look. When you add one: the README of the dispatcher lists them as a metric's labels."""

    MADE = "made"
    PENDING = "pending"
    ASLEEP = "asleep"
    TOO_MANY = "too_many"
    TOO_OLD = "too_old"
    RATE_LIMITED = "rate_limited"
    NOT_ACTIVE = "not_active"


@dataclass(frozen=True, slots=True)
class Due:
    """A subsystem that is due, and its host.

    Attributes:
        name: of the subsystem.
        due_at: when it was due.
        interval_s: in force.
        last_made_at: when its last scan was made or found pending; None: never.
        active: whether the host takes commands.
        version: of its agent.
        last_seen_at: of the host.
        fast: whether the host polls fast.
    """

    name: str
    due_at: datetime
    interval_s: int
    last_made_at: datetime | None
    active: bool
    version: str | None
    last_seen_at: datetime | None
    fast: bool


def covering_keys(name: str) -> tuple[str, ...]:
    """Return the dedupe keys of pending commands that make a scan of `name` needless, its own first."""
    return tuple(dedupe_key(CommandKind.SCAN, {"subsystem": one}) for one in (name, "all"))


def judge(due: Due, *, pending: int, most: int, covered: bool, minimum: str | None) -> Outcome:
    """Say what to do about a subsystem that is due.

    Args:
        due: it.
        pending: commands of the host that wait for their end.
        most: as many as are allowed.
        covered: whether one of them has a key of `covering_keys`.
        minimum: the oldest version of an agent that is asked for anything, None for any.
    """
    if not due.active:
        return Outcome.NOT_ACTIVE
    if agent_version.is_below(due.version, minimum):
        return Outcome.TOO_OLD
    if due.last_made_at is not None and (due.last_seen_at is None or due.last_seen_at <= due.last_made_at):
        return Outcome.ASLEEP
    if covered:
        return Outcome.PENDING
    return Outcome.TOO_MANY if pending >= most else Outcome.MADE


def after_run(due: Due, now: datetime, *, jitter_percent: int, random: Callable[[], float]) -> Times:
    """Return when a subsystem runs next, now that its scan is made (or one is pending).

    The time keeps its place in the interval; where that comes too soon after a late run, one interval is left out.
    A first run finds its place by chance, so that hosts that joined together fall apart.

    Args:
        due: it.
        now: the time.
        jitter_percent: share of the interval within which the run may be late, to spread.
        random: 0 to 1.
    """
    interval = timedelta(seconds=due.interval_s)
    if due.last_made_at is None:
        base = now + interval * (0.5 + random())
    else:
        missed = max(0, (now - due.due_at) // interval)
        base = due.due_at + interval * (missed + 1)
        if base - now < interval * SOONEST_SHARE:
            base += interval
    return spread(base, due.interval_s, fast=due.fast, jitter_percent=jitter_percent, random=random)


def spread(
    base: datetime, interval_s: int, *, fast: bool, jitter_percent: int, random: Callable[[], float]
) -> Times:
    """Add the wait that spreads; none in fast mode."""
    wait = 0.0 if fast else interval_s * jitter_percent / 100 * random()
    return Times(base, base + timedelta(seconds=wait))


def planned(
    values: Values,
    *,
    active: bool,
    now: datetime,
    old: Times | None,
    old_interval_s: int | None,
    last_made_at: datetime | None,
    fast: bool,
    jitter_percent: int,
    random: Callable[[], float],
) -> Times | None:
    """Return when a subsystem runs after its values or its host changed; None: not by itself.

    An unchanged interval keeps its times. A changed one counts from the last run; where that time is over already,
    the run comes at a random time within one new interval: a changed default must not make the whole fleet due.

    Args:
        values: in force.
        active: whether the host takes commands and still has the subsystem.
        now: the time.
        old: the times so far, None when it did not run.
        old_interval_s: behind them.
        last_made_at: when the last scan was made.
        fast: whether the host polls fast.
        jitter_percent: as for `after_run`.
        random: 0 to 1.
    """
    if not (active and values.runs):
        return None
    if old is not None and old_interval_s == values.interval_s:
        return old
    if last_made_at is None:
        wait = min(FIRST_WITHIN_S, values.interval_s) * random()
        return Times(now, now + timedelta(seconds=0.0 if fast else wait))
    base = last_made_at + timedelta(seconds=values.interval_s)
    if base <= now:
        base = now + timedelta(seconds=values.interval_s * random())
        return Times(base, base)
    return spread(base, values.interval_s, fast=fast, jitter_percent=jitter_percent, random=random)


def held_s(outcome: Outcome, random: Callable[[], float], *, retry_after_s: float = 0.0) -> float:
    """Return the seconds until a subsystem that stays due is looked at again; up to half as much more, to spread."""
    least = {
        Outcome.TOO_OLD: HELD_TOO_OLD_S,
        Outcome.NOT_ACTIVE: HELD_TOO_OLD_S,
        Outcome.RATE_LIMITED: max(retry_after_s, 1.0),
    }.get(outcome, HELD_S)
    return least * (1 + 0.5 * random())


def batch_size(scans_per_minute: int) -> int:
    """Return how many scans one step makes, a step a second: what an outage left due is spread, not signed at once.

    Args:
        scans_per_minute: the fleet's limit for scans; more would only wait for the signer.
    """
    return max(BATCH_MIN, min(BATCH_MAX, scans_per_minute // 60))
