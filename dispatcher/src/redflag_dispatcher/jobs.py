"""Turns the items of jobs into commands a batch at a time, and ends jobs; the rules of a command are the store's.

Guarantees: several dispatchers share the items by SKIP LOCKED, and an item is decided in the transaction that makes
its command, so none is doubled and none lost; an item a rate holds back waits and is tried again, every other refusal
is final and named; a job that is to end makes nothing more and has its commands cancelled, each under the one intent
that ends the job; an item older than the longest life of its kind is refused, because its intent covers nothing any
more.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.metrics import Metrics
from redflag_ops.logging import get_logger
from redflag_store.queries import job_work as queries
from redflag_store.queries.cancel import dedupe_key
from redflag_store.queries.commands_create import (
    AlreadyPendingError,
    Outcome,
    RateLimitedError,
    Wanted,
    create_each,
)
from redflag_store.queries.job_work import CancelRow, Decision, ItemRow
from redflag_store.queries.update_decisions import Wait, wait_for_commands
from redflag_store.states import JobItemState
from redflag_wire.clock import Clock
from redflag_wire.command import LONGEST_LIFE, CommandKind
from redflag_wire.command_params import CommandParams, DryRunUpdateParams, PlanMode, parse_params
from redflag_wire.errors import WireError

BATCH: Final = 200  # items of one transaction
PARAMS_MAX: Final = 1 << 20  # characters of all parameters of one transaction: some 20,000 packages of plans
JOBS_AT_ONCE: Final = 20  # jobs ended in one step
SOONEST_S: Final = 1.0  # an item a rate holds back is not tried sooner
EXPIRED: Final = "expired"
INVALID: Final = "invalid"

_log = get_logger()
_Row = TypeVar("_Row", ItemRow, CancelRow)


class JobWork:
    """One worker on jobs; ``step`` is one batch of each kind of work.

    Args:
        sessions: of the database.
        clock: the server's.
        metrics: counts what became of items.
        made: called after commands were made; wakes the signer.
        batch: items of one transaction.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        *,
        clock: Clock,
        metrics: Metrics,
        made: Callable[[], None],
        batch: int = BATCH,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._metrics = metrics
        self._made = made
        self._batch = batch

    async def step(self) -> bool:
        """Stop, cancel, make and end one batch each; return whether there may be more at once."""
        stopped = await self.stop()
        cancelled = await self.cancel()
        made = await self.make()
        await self.finish()
        return self._batch in {stopped, cancelled, made}

    async def make(self) -> int:
        """Decide one batch of due items; return how many, a whole batch when some were left for the next."""
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            claimed = await queries.claim_items(session, now, self._batch)
            rows = bounded(claimed)
            decisions = [one for one in (_refused_at_once(row, now) for row in rows) if one is not None]
            decided = {(one.job_id, one.position) for one in decisions}
            todo = [row for row in rows if (row.job_id, row.position) not in decided]
            for turn in turns(todo):
                outcomes = await create_each(session, self._clock, [_wanted(row) for row in turn])
                decisions.extend(
                    decide(row, outcome, now) for row, outcome in zip(turn, outcomes, strict=True)
                )
                await wait_for_commands(session, list(waits(turn, outcomes)), at=now)
            await queries.write_decisions(session, decisions, now)
        for one in decisions:
            self._metrics.job_items.labels(one.code or one.state.value).inc()
        if any(one.state is JobItemState.MADE for one in decisions):
            self._made()
        return len(rows) if len(rows) == len(claimed) else self._batch

    async def stop(self) -> int:
        """Refuse one batch of what waits in jobs that are to end; return how many items it was."""
        async with self._sessions() as session, session.begin():
            count = await queries.stop_items(session, self._clock.now(), self._batch)
        if count:
            self._metrics.job_items.labels("job_cancelled").inc(count)
        return count

    async def cancel(self) -> int:
        """Ask for the cancels of one batch of commands of jobs that are to end; return how many it was."""
        async with self._sessions() as session, session.begin():
            rows = await queries.claim_cancels(session, self._batch)
            written: list[tuple[CancelRow, UUID | None, str | None]] = []
            for turn in turns(rows):
                outcomes = await create_each(session, self._clock, [_cancel(row) for row in turn])
                written.extend(
                    (row, *_cancelled(outcome)) for row, outcome in zip(turn, outcomes, strict=True)
                )
            await queries.write_cancels(session, written)
        if rows:
            self._made()
        return len(rows)

    async def finish(self) -> int:
        """End jobs that are over; return how many."""
        async with self._sessions() as session, session.begin():
            rows = await queries.finish_jobs(session, self._clock.now(), JOBS_AT_ONCE)
        for row in rows:
            _log.info(
                "jobs.over",
                op=str(row.op),
                job=str(row.id),
                kind=row.kind,
                state=row.state,
                ends=json.loads(row.ends),
            )
        return len(rows)


class WaitingCounts:
    """Shows on the metrics page what waits to be signed or made; ``step`` measures once."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], *, metrics: Metrics) -> None:
        self._sessions = sessions
        self._metrics = metrics

    async def step(self) -> bool:
        """Measure."""
        async with self._sessions() as session, session.begin():
            kinds, items = await queries.waiting_counts(session)
        for kind in CommandKind:
            self._metrics.commands_waiting.labels(kind.value).set(kinds.get(kind.value, 0))
        self._metrics.job_items_waiting.set(items)
        return False


def turns(rows: Iterable[_Row]) -> list[list[_Row]]:
    """Return the rows in turns, each host once in a turn, each host's in their order."""
    found: list[list[_Row]] = []
    seen: dict[UUID, int] = {}
    for row in rows:
        turn = seen.get(row.agent_id, 0)
        seen[row.agent_id] = turn + 1
        if turn == len(found):
            found.append([])
        found[turn].append(row)
    return found


def bounded(rows: list[ItemRow]) -> list[ItemRow]:
    """Return the first rows whose parameters together are not too much for one transaction, at least one."""
    weights = accumulate(len(row.params) for row in rows)
    return [
        row
        for number, (row, weight) in enumerate(zip(rows, weights, strict=True))
        if not number or weight <= PARAMS_MAX
    ]


def decide(row: ItemRow, outcome: Outcome, now: datetime) -> Decision:
    """Return what becomes of an item."""
    if isinstance(outcome, UUID):
        return Decision(row.job_id, row.position, JobItemState.MADE, command_id=outcome)
    if isinstance(outcome, RateLimitedError):
        due = now + timedelta(seconds=max(SOONEST_S, outcome.retry_after_s))
        return Decision(row.job_id, row.position, JobItemState.WAITING, code=outcome.code, due_at=due)
    existing = outcome.command_id if isinstance(outcome, AlreadyPendingError) else None
    return Decision(row.job_id, row.position, JobItemState.REFUSED, code=outcome.code, existing_id=existing)


def waits(rows: Iterable[ItemRow], outcomes: Iterable[Outcome]) -> Iterator[Wait]:
    """Return the packages that wait for the plans just asked for; a plan in another mode names none."""
    read: dict[str, CommandParams] = {}  # most items of a job share their parameters
    for row, outcome in zip(rows, outcomes, strict=True):
        if row.kind != CommandKind.DRY_RUN_UPDATE or not isinstance(outcome, UUID):
            continue
        params = read.get(row.params)
        if params is None:
            params = read[row.params] = parse_params(CommandKind.DRY_RUN_UPDATE, json.loads(row.params))
        if isinstance(params, DryRunUpdateParams) and params.mode is PlanMode.PACKAGES:
            for package in params.packages:
                yield Wait(row.agent_id, params.manager, package.name, package.arch, outcome)


def _refused_at_once(row: ItemRow, now: datetime) -> Decision | None:
    try:
        kind = CommandKind(row.kind)
        parse_params(kind, json.loads(row.params))
    except (ValueError, TypeError, RecursionError, WireError):
        # create_job lets none of these through; a row written by other means stops nobody else's.
        return Decision(row.job_id, row.position, JobItemState.REFUSED, code=INVALID)
    if row.requested_at + LONGEST_LIFE[kind] <= now:
        return Decision(row.job_id, row.position, JobItemState.REFUSED, code=EXPIRED)
    return None


def _wanted(row: ItemRow) -> Wanted:
    return Wanted(
        agent_id=row.agent_id,
        kind=CommandKind(row.kind),
        params=row.params,
        intent_id=row.intent_id,
        op=row.op,
        dedupe_key=row.dedupe_key,
        requested_by=row.requested_by,
    )


def _cancel(row: CancelRow) -> Wanted:
    return Wanted(
        agent_id=row.agent_id,
        kind=CommandKind.CANCEL,
        params=json.dumps({"cmd": str(row.command_id)}),
        intent_id=row.intent_id,
        op=row.op,
        dedupe_key=dedupe_key(row.command_id),
        requested_by=row.requested_by,
    )


def _cancelled(outcome: Outcome) -> tuple[UUID | None, str | None]:
    if isinstance(outcome, UUID):
        return outcome, None
    if isinstance(outcome, AlreadyPendingError):
        return outcome.command_id, None
    return None, outcome.code
