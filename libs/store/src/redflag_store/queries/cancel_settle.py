"""What settling a cancel reads and writes: the target and its message under lock, and the ends of both.

Guarantees: commands are locked before their outbox rows, as the relay and the reconciler do; a target another
program holds is left out instead of waited for, because the caller holds locks others may wait for.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection


@dataclass(frozen=True, slots=True)
class Target:
    """A command to be cancelled, its row now locked."""

    id: UUID
    agent_id: UUID
    kind: str
    state: str
    op: UUID | None


@dataclass(frozen=True, slots=True)
class Message:
    """A command's row in the outbox, now locked.

    Attributes:
        command_id: the command.
        n: publish number.
        attempts: how often a relay was answered, or not.
        claimed: whether a relay ever took it and did not give it back, however long ago.
        published: whether the broker has it.
    """

    command_id: UUID
    n: int
    attempts: int
    claimed: bool
    published: bool


@dataclass(frozen=True, slots=True)
class EndRow:
    """A command's move to another state by the server's hand.

    Attributes:
        id: the command.
        from_state: the state it must still be in.
        to_state: the state it enters.
        result: of the work, with an end.
        code: reason, if any.
    """

    id: UUID
    from_state: str
    to_state: str
    result: str | None = None
    code: str | None = None


_TARGETS = """
SELECT id, agent_id, kind, state, op FROM command WHERE id = ANY($1::uuid[])
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
"""

_MESSAGES = """
SELECT command_id, n, attempts, claimed_until IS NOT NULL AS claimed, published_at IS NOT NULL AS published
FROM outbox WHERE command_id = ANY($1::uuid[]) ORDER BY command_id FOR UPDATE
"""

_MOVE = """
UPDATE command c SET state = n.to_state, result = coalesce(n.result, c.result), code = coalesce(n.code, c.code),
                     finished_at = CASE WHEN n.result IS NULL THEN c.finished_at ELSE $6::timestamptz END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS n (id, from_state, to_state, result, code)
WHERE c.id = n.id AND c.state = n.from_state
"""

_JOBS = "SELECT command_id, job_id FROM job_item WHERE command_id = ANY($1::uuid[])"


async def jobs_of(session: AsyncSession, commands: Collection[UUID]) -> dict[UUID, UUID]:
    """Return the job that made each of these commands; one that no job made is left out."""
    if not commands:
        return {}
    connection = await driver_connection(session)
    rows = await connection.fetch(_JOBS, list(commands))
    return {row["command_id"]: row["job_id"] for row in rows}


async def existing(session: AsyncSession, commands: Collection[UUID]) -> set[UUID]:
    """Return which of these commands there are."""
    connection = await driver_connection(session)
    rows = await connection.fetch("SELECT id FROM command WHERE id = ANY($1::uuid[])", list(commands))
    return {row["id"] for row in rows}


async def lock_targets(
    session: AsyncSession, commands: Collection[UUID]
) -> tuple[dict[UUID, Target], dict[UUID, Message]]:
    """Lock these commands and their outbox rows; one that another program holds is left out."""
    connection = await driver_connection(session)
    targets = {row["id"]: Target(**dict(row)) for row in await connection.fetch(_TARGETS, list(commands))}
    rows = await connection.fetch(_MESSAGES, list(targets))
    return targets, {row["command_id"]: Message(**dict(row)) for row in rows}


async def write_ends(session: AsyncSession, rows: Sequence[EndRow], at: datetime) -> None:
    """Move commands; one that is no longer where its row says stays where it is. A result is an end."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _MOVE,
        [row.id for row in rows],
        [row.from_state for row in rows],
        [row.to_state for row in rows],
        [row.result for row in rows],
        [row.code for row in rows],
        at,
    )


async def drop_messages(session: AsyncSession, commands: Collection[UUID]) -> None:
    """Delete the outbox rows of these commands."""
    if commands:
        connection = await driver_connection(session)
        await connection.execute("DELETE FROM outbox WHERE command_id = ANY($1::uuid[])", list(commands))
