"""How long the scans of subsystems may take, and what came of them, as their hosts reported it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


@dataclass(frozen=True, slots=True)
class RunRow:
    """One scan that ended.

    Attributes:
        agent_id: the host.
        name: of the subsystem; `all` for every one the host has.
        command_id: the command.
        result: how it went.
        code: why not well.
        good: whether it counts as no failure.
    """

    agent_id: UUID
    name: str
    command_id: UUID
    result: str
    code: str | None
    good: bool


# Of several runs of one subsystem the last counts. A scan an operator asked for moves the next one on by a whole
# interval, with the wait it had; one of the scheduler was moved on when it was made.
_RUNS = """
WITH run AS (
    SELECT DISTINCT ON (s.agent_id, s.name) s.agent_id, s.name, n.result, n.code, n.good, c.source
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::boolean[])
         WITH ORDINALITY AS n (agent_id, name, command_id, result, code, good, ord)
    JOIN subsystem s ON s.agent_id = n.agent_id AND (s.name = n.name OR (n.name = 'all' AND s.present))
    JOIN command c ON c.id = n.command_id
    ORDER BY s.agent_id, s.name, n.ord DESC
)
UPDATE subsystem s SET last_run_at = $7::timestamptz, last_result = run.result, last_code = run.code,
       failures = CASE WHEN run.good THEN 0 ELSE s.failures + 1 END,
       due_at = CASE WHEN run.good AND run.source = 'manual'
                     THEN $7::timestamptz + make_interval(secs => s.plan_interval_s)
                     ELSE s.due_at END,
       next_run_at = CASE WHEN run.good AND run.source = 'manual'
                          THEN $7::timestamptz + make_interval(secs => s.plan_interval_s) + (s.next_run_at - s.due_at)
                          ELSE s.next_run_at END,
       held_until = CASE WHEN run.good THEN NULL ELSE s.held_until END,
       held_for = CASE WHEN run.good THEN NULL ELSE s.held_for END,
       asleep = false
FROM run WHERE s.agent_id = run.agent_id AND s.name = run.name
"""


_TIMEOUTS = """
SELECT c.id, s.plan_timeout_s FROM command c
JOIN subsystem s ON s.agent_id = c.agent_id AND s.name = c.params->>'subsystem'
WHERE c.id = ANY($1::uuid[])
"""


async def scan_timeouts(session: AsyncSession, commands: Sequence[UUID]) -> dict[UUID, int]:
    """Seconds these scans may take on their hosts; those of no single subsystem are left out."""
    if not commands:
        return {}
    connection = await driver_connection(session)
    return {row["id"]: row["plan_timeout_s"] for row in await connection.fetch(_TIMEOUTS, list(commands))}


async def note_runs(session: AsyncSession, runs: Sequence[RunRow], at: datetime) -> None:
    """Write the runs, in their order; ones of subsystems that are not there are left out."""
    if runs:
        connection = await driver_connection(session)
        names = RunRow.__slots__
        await connection.execute(_RUNS, *[[getattr(run, name) for run in runs] for name in names], at)
