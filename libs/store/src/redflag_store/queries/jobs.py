"""Jobs as operators ask for, follow and cancel them; turning their items into commands is `job_work`.

Guarantees: a job and its items are stored together, or not at all; asking for its end only marks it, and the
dispatchers stop what is not made yet and cancel what is. Counts of items stand in the job's row and cost nothing to
read; how its commands ended is counted while it is open and kept with it (`ends`) once it is over.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.engine import driver_connection
from redflag_store.queries.intents import IntentData, store_intent
from redflag_store.queries.refusals import JobEndedError, NoSuchJobError
from redflag_store.states import JobState
from redflag_store.tables import Agent, Command, Job, JobItem
from redflag_wire.clock import Clock
from redflag_wire.command_params import CommandKind, parse_params
from redflag_wire.ids import new_id

MAX_ITEMS: Final = 100_000
JOB_CHANNEL: Final = "redflag_job"

# The dashboard may write these columns of the two tables and no others.
_INSERT_JOB = """
INSERT INTO job (id, op, verb, kind, params, dedupe_key, requested_by, requested_at, total, left_out)
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9, $10::jsonb)
"""

_INSERT_ITEMS = """
INSERT INTO job_item (job_id, position, agent_id, intent_id, params, dedupe_key, due_at)
SELECT $1::uuid, n.position, n.agent_id, n.intent_id, n.params::jsonb, n.dedupe_key, $2::timestamptz
FROM unnest($3::integer[], $4::uuid[], $5::uuid[], $6::text[], $7::text[])
     AS n (position, agent_id, intent_id, params, dedupe_key)
"""

_COMMAND_COUNTS = """
SELECT i.job_id, c.state, count(*) AS commands FROM job_item i JOIN command c ON c.id = i.command_id
WHERE i.job_id = ANY(CAST(:jobs AS uuid[])) AND i.state = 'made' GROUP BY i.job_id, c.state
"""


@dataclass(frozen=True, slots=True)
class NewItem:
    """One host's part of a job to be.

    Attributes:
        agent_id: the host.
        intent_id: the stored intent that names this host; one intent serves as many items as it has targets.
        params: its own parameters; None for the job's.
        dedupe_key: its own key; None for the job's.
    """

    agent_id: UUID
    intent_id: UUID
    params: Mapping[str, Any] | None = None
    dedupe_key: str | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and how far it is.

    Attributes:
        job: its row; `total`, `made` and `refused` count its items, the rest of them waits.
        commands: state -> how many of its commands are in it.
    """

    job: Job
    commands: Mapping[str, int]

    @property
    def waiting(self) -> int:
        """Items nothing became of yet."""
        return self.job.total - self.job.made - self.job.refused


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, newest first; `total` counts all that match, `more` says whether others follow."""

    rows: list[JobView]
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class ItemView:
    """One host's part of a job, and where its command stands (None without one, or when its time is over)."""

    item: JobItem
    hostname: str
    command_state: str | None
    command_result: str | None
    command_code: str | None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """A page of items by position; `total` counts all that match, `more` says whether others follow."""

    rows: list[ItemView]
    total: int
    more: bool


async def create_job(
    session: AsyncSession,
    clock: Clock,
    *,
    verb: str,
    kind: str,
    params: Mapping[str, Any],
    items: Sequence[NewItem],
    requested_by: str,
    op: UUID,
    dedupe_key: str | None = None,
    left_out: Mapping[str, Any] | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> UUID:
    """Store a job; return its id. The dispatchers begin when the caller commits.

    Args:
        session: inside the caller's transaction, in which the intents are stored already (`store_intent`).
        clock: server time of the request.
        verb: of the intents.
        kind: of the commands; never `cancel`.
        params: of every item without its own; the intents' parameters must be the same.
        items: 1 to `MAX_ITEMS`; a host may come twice only with different intents.
        requested_by: who, for people.
        op: correlation id; the commands carry it too, so `CommandFilter(op=...)` lists them.
        dedupe_key: of every command whose item has none of its own.
        left_out: the hosts that match and are not asked, for people; bounded by the caller.
        random: source of the id.

    Raises:
        SchemaRefusedError: parameters do not fit the kind.
        ValueError: no such kind, no items, too many, or one host twice with one intent.
    """
    checked = CommandKind(kind)
    if checked is CommandKind.CANCEL:
        raise ValueError("a cancel is no job")
    if not 1 <= len(items) <= MAX_ITEMS:
        raise ValueError(f"a job has 1 to {MAX_ITEMS} items")
    if len({(item.agent_id, item.intent_id) for item in items}) != len(items):
        raise ValueError("one intent makes one command per host")
    parse_params(checked, params)
    for item in items:
        if item.params is not None:
            parse_params(checked, item.params)
    now = clock.now()
    job_id = new_id(clock, random)
    connection = await driver_connection(session)
    await connection.execute(
        _INSERT_JOB,
        job_id,
        op,
        verb,
        checked.value,
        json.dumps(dict(params)),
        dedupe_key,
        requested_by,
        now,
        len(items),
        None if left_out is None else json.dumps(dict(left_out)),
    )
    await connection.execute(
        _INSERT_ITEMS,
        job_id,
        now,
        list(range(1, len(items) + 1)),
        [item.agent_id for item in items],
        [item.intent_id for item in items],
        [None if item.params is None else json.dumps(dict(item.params)) for item in items],
        [item.dedupe_key for item in items],
    )
    await _tell(session, job_id)
    return job_id


async def cancel_job(
    session: AsyncSession, clock: Clock, *, job_id: UUID, intent: IntentData, requested_by: str
) -> None:
    """Ask that a job be stopped: what is not made yet never is, and what is made is cancelled.

    The caller commits. `intent` has the verb `cancel_command`, no targets, and the parameters
    `{"job": "<id>"}`; it is stored here, and every cancel the dispatchers make lies within it.

    Raises:
        NoSuchJobError: there is no such job.
        JobEndedError: it is over, or being cancelled; its `state` says which.
    """
    async with session.begin_nested():
        await store_intent(session, clock, intent)
        changed = await session.scalar(
            text(
                "UPDATE job SET state = 'cancelling', cancelled_by = :by, cancelled_at = :at, "
                "cancel_intent_id = :intent WHERE id = :job AND state = 'running' RETURNING id"
            ),
            {"by": requested_by, "at": clock.now(), "intent": intent.id, "job": job_id},
        )
        if changed is None:
            state = await session.scalar(select(col(Job.state)).where(col(Job.id) == job_id))
            raise NoSuchJobError(job_id) if state is None else JobEndedError(job_id, state)
        await _tell(session, job_id)


async def get_job(session: AsyncSession, job_id: UUID) -> JobView | None:
    """One job with its counts; None when there is none."""
    job = await session.scalar(select(Job).where(col(Job.id) == job_id))
    return None if job is None else (await _views(session, [job]))[0]


async def list_jobs(
    session: AsyncSession,
    *,
    state: str | None = None,
    kind: str | None = None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> JobPage:
    """A page of jobs, newest first; `after` is (requested_at, id) of the last row of the page before."""
    filters: list[ColumnElement[bool]] = []
    if state is not None:
        filters.append(col(Job.state) == state)
    if kind is not None:
        filters.append(col(Job.kind) == kind)
    total = await session.scalar(select(func.count()).select_from(Job).where(*filters))
    statement = select(Job).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(col(Job.requested_at), col(Job.id)) < after)
    statement = statement.order_by(col(Job.requested_at).desc(), col(Job.id).desc()).limit(limit + 1)
    found = list((await session.scalars(statement)).all())
    return JobPage(await _views(session, found[:limit]), total or 0, len(found) > limit)


async def job_items(
    session: AsyncSession,
    job_id: UUID,
    *,
    state: str | None = None,
    after: int | None,
    limit: int,
) -> ItemPage:
    """A page of a job's items by position; `after` is the position of the last row of the page before."""
    filters: list[ColumnElement[bool]] = [col(JobItem.job_id) == job_id]
    if state is not None:
        filters.append(col(JobItem.state) == state)
    total = await session.scalar(select(func.count()).select_from(JobItem).where(*filters))
    statement = (
        select(JobItem, col(Agent.hostname), col(Command.state), col(Command.result), col(Command.code))
        .join(Agent, col(Agent.id) == col(JobItem.agent_id))
        .outerjoin(Command, col(Command.id) == col(JobItem.command_id))
        .where(*filters)
    )
    if after is not None:
        statement = statement.where(col(JobItem.position) > after)
    found = (await session.execute(statement.order_by(col(JobItem.position)).limit(limit + 1))).all()
    return ItemPage([ItemView(*row) for row in found[:limit]], total or 0, len(found) > limit)


async def _views(session: AsyncSession, jobs: Sequence[Job]) -> list[JobView]:
    counts: dict[UUID, dict[str, int]] = {}
    still_open = [job.id for job in jobs if job.state in {JobState.RUNNING, JobState.CANCELLING}]
    if still_open:
        for row in await session.execute(text(_COMMAND_COUNTS), {"jobs": still_open}):
            counts.setdefault(row.job_id, {})[row.state] = row.commands
    return [JobView(job, counts.get(job.id, {}) if job.ends is None else job.ends) for job in jobs]


async def _tell(session: AsyncSession, job_id: UUID) -> None:
    await session.execute(
        text("SELECT pg_notify(:channel, :payload)"), {"channel": JOB_CHANNEL, "payload": str(job_id)}
    )
