"""Turns due scans into commands: takes hosts in, plans their subsystems, and makes what is due; the rules are pure.

Guarantees: a subsystem's next time moves in the transaction that makes its command, and not without one; several
schedulers share the rows by SKIP LOCKED, and the host's row is locked while one decides, so nothing is made twice;
a step makes at most one batch, whatever is due, and hosts in fast mode come first. What keeps a scan from being made
(too much pending, an agent below the minimum version, a host that sleeps) leaves it due.
"""

import json
import random as _random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher import schedule_rules as rules
from redflag_dispatcher.live_settings import LiveSettings
from redflag_dispatcher.metrics import Metrics
from redflag_dispatcher.schedule_rules import Due, Outcome, Times
from redflag_ops.logging import get_logger
from redflag_store.fleet_settings import FleetSettings
from redflag_store.queries import schedule as queries
from redflag_store.queries.commands_create import (
    MAX_PENDING_PER_AGENT,
    AlreadyPendingError,
    CommandRefusedError,
    RateLimitedError,
    Wanted,
    create_each,
)
from redflag_store.queries.groups import groups_of
from redflag_store.queries.schedule import DueRow, LookWrite, NewSubsystem, PlanWrite, StaleAgent, ToPlan
from redflag_store.queries.subsystems import Defaults, read_defaults
from redflag_store.states import AgentState, CommandSource
from redflag_store.subsystem_rules import built_in, names_of
from redflag_wire.clock import Clock
from redflag_wire.command_params import CommandKind, ScanParams

REQUESTED_BY: Final = "scheduler"
TAKE_IN_BATCH: Final = 500  # hosts of one step
PLAN_BATCH: Final = 2000  # subsystems of one step
FAST_BATCH: Final = 100  # scans of fast hosts of one step, before the others

_log = get_logger()


class Scheduler:
    """One scheduler; ``step`` is one look, a second apart.

    Args:
        sessions: of the database.
        settings: the operators'.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        metrics: counts looks by their outcome.
        random: 0 to 1, spreads runs.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        settings: LiveSettings,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
        metrics: Metrics,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._random = random

    async def step(self) -> bool:
        """Take in, plan and make one batch each; what is left waits for the next step, which spreads it."""
        settings = await self._settings.current()
        await self.take_in()
        await self.plan(settings)
        await self.make_due(settings, FAST_BATCH, fast=True)
        await self.make_due(settings, rules.batch_size(settings.number("limits.scan_per_minute")))
        return False

    async def take_in(self) -> int:
        """Give hosts that are new, or say something new about themselves, their subsystems; return how many hosts."""
        async with self._sessions() as session, session.begin():
            agents = await queries.stale_agents(session, TAKE_IN_BATCH)
            if agents:
                await queries.take_in(session, agents, [row for agent in agents for row in _rows_of(agent)])
        return len(agents)

    async def plan(self, settings: FleetSettings) -> int:
        """Work out anew when subsystems run whose values may have changed; return how many."""
        async with self._sessions() as session, session.begin():
            revision = await queries.revision(session)
            rows = await queries.to_plan(session, revision, PLAN_BATCH)
            if not rows:
                return 0
            defaults = await read_defaults(session, {row.name for row in rows})
            groups = await groups_of(session, {row.agent_id for row in rows})
            now = self._clock.now()
            plans = [
                self._plan(row, defaults, {ref.id: ref.name for ref in groups[row.agent_id]}, settings, now)
                for row in rows
            ]
            await queries.write_plans(session, plans, revision)
        return len(rows)

    def _plan(
        self,
        row: ToPlan,
        defaults: Defaults,
        groups: dict[UUID, str],
        settings: FleetSettings,
        now: datetime,
    ) -> PlanWrite:
        values = defaults.for_host(row.name, row.own, groups).values
        old = (
            Times(row.due_at, row.next_run_at)
            if row.due_at is not None and row.next_run_at is not None
            else None
        )
        times = rules.planned(
            values,
            active=row.present and row.state == AgentState.ACTIVE,
            now=now,
            old=old,
            old_interval_s=row.plan_interval_s,
            last_made_at=row.last_made_at,
            fast=_is_fast(row, now),
            jitter_percent=settings.number("scheduler.jitter_percent"),
            random=self._random,
        )
        return PlanWrite(
            row.agent_id,
            row.name,
            values.interval_s,
            values.timeout_s,
            None if times is None else times.due_at,
            None if times is None else times.next_run_at,
        )

    async def make_due(self, settings: FleetSettings, limit: int, *, fast: bool = False) -> Counter[Outcome]:
        """Look at up to ``limit`` subsystems that are due; return the outcomes."""
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            rows = await queries.claim_due(session, now, limit, fast=fast)
            if not rows:
                return Counter()
            looks = await self._look(session, rows, settings, now)
            await queries.write_looks(session, list(looks.values()))
        outcomes = Counter(self._outcome_of(look) for look in looks.values())
        for outcome, count in outcomes.items():
            self._metrics.scheduler_looks.labels(outcome.value).inc(count)
        _log.info("schedule.looked", **{outcome.value: count for outcome, count in outcomes.items()})
        return outcomes

    @staticmethod
    def _outcome_of(look: LookWrite) -> Outcome:
        if look.held_for is not None:
            return Outcome(look.held_for)
        return Outcome.MADE if look.command_id is not None else Outcome.PENDING

    async def _look(
        self, session: AsyncSession, rows: Sequence[DueRow], settings: FleetSettings, now: datetime
    ) -> dict[tuple[UUID, str], LookWrite]:
        """Decide on every row and make the commands; rows and hosts are locked, so what is seen here stays true."""
        pending: Counter[UUID] = Counter()
        keys: set[tuple[UUID, str]] = set()
        for one in await queries.pending_commands(session, {row.agent_id for row in rows}):
            pending[one.agent_id] += 1
            if one.dedupe_key is not None:
                keys.add((one.agent_id, one.dedupe_key))
        minimum = settings.version("agents.minimum_version")
        looks: dict[tuple[UUID, str], LookWrite] = {}
        wanted: defaultdict[str, list[DueRow]] = defaultdict(list)
        for row in rows:
            outcome = rules.judge(
                _due(row, now),
                pending=pending[row.agent_id],
                most=MAX_PENDING_PER_AGENT,
                covered=any((row.agent_id, key) in keys for key in rules.covering_keys(row.name)),
                minimum=minimum,
            )
            if outcome is Outcome.MADE:
                wanted[row.name].append(row)
                pending[row.agent_id] += 1
            elif outcome is Outcome.PENDING:
                looks[row.agent_id, row.name] = self._moved(row, None, settings, now)
            else:
                looks[row.agent_id, row.name] = self._held(row, outcome, now)
        for name, due in wanted.items():
            for look in await self._make(session, name, due, settings, now):
                looks[look.agent_id, look.name] = look
        return looks

    async def _make(
        self, session: AsyncSession, name: str, rows: Sequence[DueRow], settings: FleetSettings, now: datetime
    ) -> list[LookWrite]:
        """Make one subsystem's commands; a host that is refused stays due, and says nothing about the others."""
        params = ScanParams(subsystem=name).model_dump(mode="json")
        op = self._new_id()
        wanted = [
            Wanted(
                agent_id=row.agent_id,
                kind=CommandKind.SCAN,
                params=json.dumps(params),
                intent_id=None,
                op=op,
                dedupe_key=rules.covering_keys(name)[0],
                requested_by=REQUESTED_BY,
            )
            for row in rows
        ]
        made = await create_each(session, self._clock, wanted, source=CommandSource.SYSTEM)
        return [self._after(row, outcome, settings, now) for row, outcome in zip(rows, made, strict=True)]

    def _after(
        self, row: DueRow, made: UUID | CommandRefusedError, settings: FleetSettings, now: datetime
    ) -> LookWrite:
        if isinstance(made, UUID):
            return self._moved(row, made, settings, now)
        if isinstance(made, AlreadyPendingError):
            return self._moved(row, None, settings, now)
        if isinstance(made, RateLimitedError):
            return self._held(row, Outcome.RATE_LIMITED, now, made.retry_after_s)
        return self._held(row, Outcome.TOO_MANY, now)

    def _moved(self, row: DueRow, command: UUID | None, settings: FleetSettings, now: datetime) -> LookWrite:
        times = rules.after_run(
            _due(row, now),
            now,
            jitter_percent=settings.number("scheduler.jitter_percent"),
            random=self._random,
        )
        return LookWrite(
            row.agent_id, row.name, times.due_at, times.next_run_at, made_at=now, command_id=command
        )

    def _held(self, row: DueRow, outcome: Outcome, now: datetime, retry_after_s: float = 0.0) -> LookWrite:
        asleep = outcome is Outcome.ASLEEP
        wait = timedelta(seconds=rules.held_s(outcome, self._random, retry_after_s=retry_after_s))
        return LookWrite(
            row.agent_id,
            row.name,
            row.due_at,
            row.next_run_at,
            held_until=None if asleep else now + wait,
            held_for=outcome.value,
            asleep=asleep,
        )


class ScheduleLag:
    """Measures what is due and how late it is; ``step`` is one measurement."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, clock: Clock, metrics: Metrics) -> None:
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics

    async def step(self) -> bool:
        """Measure, and forget fast modes that are over."""
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            await queries.end_fast_modes(session, now)
            due, oldest = await queries.backlog(session, now)
        self._metrics.scheduler_due.set(due)
        self._metrics.scheduler_lag.set(0.0 if oldest is None else (now - oldest).total_seconds())
        return False


def _rows_of(agent: StaleAgent) -> list[NewSubsystem]:
    return [
        NewSubsystem(agent.agent_id, name, built_in(name).interval_s, built_in(name).timeout_s)
        for name in names_of(json.loads(agent.capabilities))
    ]


def _is_fast(row: DueRow | ToPlan, now: datetime) -> bool:
    return row.fast_forever or (row.fast_until is not None and row.fast_until > now)


def _due(row: DueRow, now: datetime) -> Due:
    return Due(
        name=row.name,
        due_at=row.due_at,
        interval_s=row.plan_interval_s,
        last_made_at=row.last_made_at,
        active=row.state == AgentState.ACTIVE,
        version=row.agent_version,
        last_seen_at=row.last_seen_at,
        fast=_is_fast(row, now),
    )
