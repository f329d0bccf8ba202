"""The scheduler's side of `subsystem`: which hosts to take in, what to plan, what is due, what came of it.

Guarantees: every look takes its rows with SKIP LOCKED, so schedulers share them and never wait for one another or
for ingest; none reads more than its limit, and each goes by a partial index, so a step costs by what it finds and
not by the size of the fleet.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.queries.in_order import fetch_in_order
from redflag_store.tables.agents import SUBSYSTEMS_MARK_SQL, SUBSYSTEMS_STALE_SQL
from redflag_store.tables.commands import PENDING_SQL
from redflag_store.tables.subsystems import DUE_SQL

SUBSYSTEMS_MAX: Final = 128  # of one host, those it names no more included
COUNTED_MAX: Final = 100_000  # rows that are due are counted up to this


@dataclass(frozen=True, slots=True)
class StaleAgent:
    """A host whose subsystems are not the ones it names, or whose standing or version changed."""

    agent_id: UUID
    capabilities: str  # JSON text
    mark: str


@dataclass(frozen=True, slots=True)
class NewSubsystem:
    """A row a host should have; the numbers hold until it is planned."""

    agent_id: UUID
    name: str
    interval_s: int
    timeout_s: int


@dataclass(frozen=True, slots=True)
class ToPlan:
    """A subsystem whose plan is older than the defaults; `own` are the host's own values by column name."""

    agent_id: UUID
    name: str
    present: bool
    own: Mapping[str, Any]
    planned_rev: int
    plan_interval_s: int
    due_at: datetime | None
    next_run_at: datetime | None
    last_made_at: datetime | None
    state: str
    fast_until: datetime | None
    fast_forever: bool


@dataclass(frozen=True, slots=True)
class PlanWrite:
    """What a subsystem's plan becomes; no times: it does not run by itself."""

    agent_id: UUID
    name: str
    interval_s: int
    timeout_s: int
    due_at: datetime | None
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class DueRow:
    """A subsystem that is due; row and host are locked."""

    agent_id: UUID
    name: str
    due_at: datetime
    next_run_at: datetime
    plan_interval_s: int
    last_made_at: datetime | None
    state: str
    agent_version: str | None
    last_seen_at: datetime | None
    fast_until: datetime | None
    fast_forever: bool


@dataclass(frozen=True, slots=True)
class PendingScan:
    """A command of a host that waits for its end."""

    agent_id: UUID
    command_id: UUID
    dedupe_key: str | None


@dataclass(frozen=True, slots=True)
class LookWrite:
    """What a look makes of a subsystem's row.

    Attributes:
        made_at: when a command was made or found pending; None leaves what was.
        command_id: that command.
        held_until: when it is looked at again though it stays due.
        held_for: why.
        asleep: not before the host is seen again.
    """

    agent_id: UUID
    name: str
    due_at: datetime
    next_run_at: datetime
    made_at: datetime | None = None
    command_id: UUID | None = None
    held_until: datetime | None = None
    held_for: str | None = None
    asleep: bool = False


_OWN: Final = (
    "enabled", "auto_run", "interval_s", "timeout_s", "breaker_failures", "breaker_window_s", "breaker_open_s",
    "breaker_half_open",
)  # fmt: skip

_STALE = f"""
SELECT id AS agent_id, capabilities::text AS capabilities, {SUBSYSTEMS_MARK_SQL} AS mark FROM agent
WHERE {SUBSYSTEMS_STALE_SQL} ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608 - constants

_TAKE_IN = """
INSERT INTO subsystem (agent_id, name, plan_interval_s, plan_timeout_s)
SELECT n.*
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::integer[]) AS n (agent_id, name, interval_s, timeout_s)
WHERE EXISTS (SELECT FROM subsystem s WHERE s.agent_id = n.agent_id AND s.name = n.name)
   OR (SELECT count(*) FROM subsystem s WHERE s.agent_id = n.agent_id) < $5
ON CONFLICT (agent_id, name) DO UPDATE SET present = true, planned_rev = 0
"""

_GONE = """
UPDATE subsystem s SET present = false, planned_rev = 0
WHERE s.agent_id = ANY($1::uuid[]) AND s.present
  AND NOT EXISTS (SELECT FROM unnest($2::uuid[], $3::text[]) AS n (agent_id, name)
                  WHERE n.agent_id = s.agent_id AND n.name = s.name)
"""

_MARK = """
UPDATE agent a SET subsystems_mark = n.mark FROM unnest($1::uuid[], $2::text[]) AS n (id, mark) WHERE a.id = n.id
"""

_TO_PLAN = f"""
SELECT s.agent_id, s.name, s.present, s.planned_rev, s.plan_interval_s, s.due_at, s.next_run_at, s.last_made_at,
       a.state, a.fast_until, a.fast_forever, {", ".join("s." + name for name in _OWN)}
FROM subsystem s JOIN agent a ON a.id = s.agent_id
WHERE s.planned_rev < $1 ORDER BY s.planned_rev LIMIT $2 FOR NO KEY UPDATE OF s SKIP LOCKED
"""  # noqa: S608 - constants

_PLAN = """
UPDATE subsystem s SET planned_rev = $7, plan_interval_s = n.interval_s, plan_timeout_s = n.timeout_s,
       due_at = n.due_at, next_run_at = n.next_run_at, held_until = NULL, held_for = NULL, asleep = false
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::integer[], $5::timestamptz[], $6::timestamptz[])
     AS n (agent_id, name, interval_s, timeout_s, due_at, next_run_at)
WHERE s.agent_id = n.agent_id AND s.name = n.name
"""

_DUE_COLUMNS = """
SELECT s.agent_id, s.name, s.due_at, s.next_run_at, s.plan_interval_s, s.last_made_at, a.state, a.agent_version,
       a.last_seen_at, a.fast_until, a.fast_forever
FROM subsystem s JOIN agent a ON a.id = s.agent_id
"""
_DUE_LOCKS = "FOR NO KEY UPDATE OF s SKIP LOCKED FOR NO KEY UPDATE OF a SKIP LOCKED"

_DUE = f"""
{_DUE_COLUMNS}
WHERE s.next_run_at IS NOT NULL AND NOT s.asleep AND {DUE_SQL} <= $1
ORDER BY {DUE_SQL} LIMIT $2 {_DUE_LOCKS}
"""

_DUE_FAST = f"""
{_DUE_COLUMNS}
WHERE (a.fast_forever OR a.fast_until IS NOT NULL) AND (a.fast_forever OR a.fast_until > $1)
  AND s.next_run_at IS NOT NULL AND NOT s.asleep AND {DUE_SQL} <= $1
LIMIT $2 {_DUE_LOCKS}
"""

_PENDING = f"""
SELECT agent_id, id AS command_id, dedupe_key FROM command
WHERE agent_id = ANY($1::uuid[]) AND kind <> 'cancel' AND {PENDING_SQL}
"""  # noqa: S608 - constants

_LOOKED = """
UPDATE subsystem s SET due_at = n.due_at, next_run_at = n.next_run_at,
       last_made_at = coalesce(n.made_at, s.last_made_at), last_command_id = coalesce(n.command_id, s.last_command_id),
       held_until = n.held_until, held_for = n.held_for, asleep = n.asleep
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::uuid[],
            $7::timestamptz[], $8::text[], $9::boolean[])
     AS n (agent_id, name, due_at, next_run_at, made_at, command_id, held_until, held_for, asleep)
WHERE s.agent_id = n.agent_id AND s.name = n.name
"""

_WAKE = """
UPDATE subsystem SET asleep = false, held_for = NULL WHERE asleep AND agent_id = ANY($1::uuid[])
"""

_BACKLOG = f"""
SELECT count(*) AS due, min(at) AS oldest FROM (
    SELECT {DUE_SQL} AS at FROM subsystem
    WHERE next_run_at IS NOT NULL AND NOT asleep AND {DUE_SQL} <= $1 ORDER BY {DUE_SQL} LIMIT $2
) AS late
"""  # noqa: S608 - constants


async def stale_agents(session: AsyncSession, limit: int) -> list[StaleAgent]:
    """Hosts to take in, locked."""
    connection = await driver_connection(session)
    return [StaleAgent(**dict(row)) for row in await connection.fetch(_STALE, limit)]


async def take_in(
    session: AsyncSession, agents: Sequence[StaleAgent], subsystems: Sequence[NewSubsystem]
) -> None:
    """Give hosts exactly these subsystems, to be planned anew; what a host no longer names stays, not present.

    A host that named more than `SUBSYSTEMS_MAX` in its life gets no new ones.
    """
    connection = await driver_connection(session)
    ids = [one.agent_id for one in subsystems]
    names = [one.name for one in subsystems]
    await connection.execute(
        _TAKE_IN,
        ids,
        names,
        [one.interval_s for one in subsystems],
        [one.timeout_s for one in subsystems],
        SUBSYSTEMS_MAX,
    )
    await connection.execute(_GONE, [agent.agent_id for agent in agents], ids, names)
    await connection.execute(_MARK, [agent.agent_id for agent in agents], [agent.mark for agent in agents])


async def revision(session: AsyncSession) -> int:
    """The revision of the defaults; read it before the defaults, so that a change in between is planned again."""
    connection = await driver_connection(session)
    return int(await connection.fetchval("SELECT revision FROM subsystem_revision WHERE id = 1"))


async def to_plan(session: AsyncSession, current: int, limit: int) -> list[ToPlan]:
    """Subsystems whose plan is older than revision `current`, locked."""
    connection = await driver_connection(session)
    rows = await connection.fetch(_TO_PLAN, current, limit)
    return [
        ToPlan(
            **{name: value for name, value in row.items() if name not in _OWN},
            own={name: row[name] for name in _OWN},
        )
        for row in rows
    ]


async def write_plans(session: AsyncSession, plans: Sequence[PlanWrite], current: int) -> None:
    """Write plans made of the defaults of revision `current`."""
    connection = await driver_connection(session)
    names = PlanWrite.__slots__
    await connection.execute(_PLAN, *[[getattr(one, name) for one in plans] for name in names], current)


async def claim_due(session: AsyncSession, now: datetime, limit: int, *, fast: bool = False) -> list[DueRow]:
    """Up to `limit` subsystems that are due, the longest due first, with their hosts locked; `fast`: of fast hosts."""
    if fast:
        connection = await driver_connection(session)
        rows = await connection.fetch(_DUE_FAST, now, limit)
    else:
        rows = await fetch_in_order(session, _DUE, now, limit)
    return [DueRow(**dict(row)) for row in rows]


async def pending_commands(session: AsyncSession, agents: Collection[UUID]) -> list[PendingScan]:
    """What these hosts have pending, without cancels, which do not count."""
    connection = await driver_connection(session)
    return [PendingScan(**dict(row)) for row in await connection.fetch(_PENDING, list(agents))]


async def write_looks(session: AsyncSession, looks: Sequence[LookWrite]) -> None:
    """Write what looks came to, one per row."""
    if looks:
        connection = await driver_connection(session)
        names = LookWrite.__slots__
        await connection.execute(_LOOKED, *[[getattr(one, name) for one in looks] for name in names])


async def wake_seen(session: AsyncSession, agents: Collection[UUID]) -> None:
    """Let what waited for these hosts to be seen again be looked at; they were seen just now."""
    if agents:
        connection = await driver_connection(session)
        await connection.execute(_WAKE, list(agents))


async def end_fast_modes(session: AsyncSession, now: datetime) -> int:
    """Forget fast modes that are over; return how many."""
    connection = await driver_connection(session)
    done = await connection.execute("UPDATE agent SET fast_until = NULL WHERE fast_until <= $1", now)
    return int(done.rpartition(" ")[2])


async def backlog(session: AsyncSession, now: datetime) -> tuple[int, datetime | None]:
    """How many subsystems are due (counted up to `COUNTED_MAX`), and since when the oldest."""
    connection = await driver_connection(session)
    row = await connection.fetchrow(_BACKLOG, now, COUNTED_MAX)
    return row["due"], row["oldest"]
