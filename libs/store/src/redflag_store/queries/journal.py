"""Batch forms of the two append-only records: moves of commands and system events; one statement a batch.

Guarantees nothing about legality: the caller decided the move by `redflag_store.command_states` and holds the
command's row lock.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.states import Severity


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One row of `command_event`.

    Attributes:
        id: its key.
        command_id: whose move.
        at: the server's time.
        from_state: where it was; None for a creation.
        to_state: where it went; the same as `from_state` for a remark.
        cause: constant snake_case name.
        agent_at: the host's time, where its word is the cause.
        detail: data about it.
    """

    id: UUID
    command_id: UUID
    at: datetime
    from_state: str | None
    to_state: str
    cause: str
    agent_at: datetime | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of `system_event`; `code` is a constant snake_case name."""

    id: UUID
    at: datetime
    severity: Severity
    component: str
    code: str
    message: str
    agent_id: UUID | None = None
    data: dict[str, Any] = field(default_factory=dict)


_MOVES = """
INSERT INTO command_event (id, command_id, at, from_state, to_state, cause, agent_at, detail)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                     $7::timestamptz[], $8::jsonb[])
"""

_EVENTS = """
INSERT INTO system_event (id, at, severity, component, code, message, agent_id, data)
SELECT e.id, e.at, e.severity, e.component, e.code, e.message, a.id, e.data
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
            $8::jsonb[])
     AS e (id, at, severity, component, code, message, agent_id, data)
LEFT JOIN agent a ON a.id = e.agent_id
"""


# All notices of a transaction are queued once, at its commit.
_NOTICE = """
SELECT pg_notify('redflag_change', json_build_object('kind', 'command', 'id', c.id)::text)
FROM (SELECT DISTINCT id FROM unnest($1::uuid[]) AS u (id)) AS c
"""


async def write_moves(session: AsyncSession, rows: Sequence[MoveRow]) -> None:
    """Append rows to `command_event`; who listens on `redflag_change` hears of each command once."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _MOVES,
        [row.id for row in rows],
        [row.command_id for row in rows],
        [row.at for row in rows],
        [row.from_state for row in rows],
        [row.to_state for row in rows],
        [row.cause for row in rows],
        [row.agent_at for row in rows],
        [json.dumps(row.detail) for row in rows],
    )
    await connection.execute(_NOTICE, [row.command_id for row in rows])


async def write_events(session: AsyncSession, rows: Sequence[EventRow]) -> None:
    """Append rows to `system_event`; an agent id the database does not know is left out of its column."""
    if not rows:
        return
    connection = await driver_connection(session)
    await connection.execute(
        _EVENTS,
        [row.id for row in rows],
        [row.at for row in rows],
        [str(row.severity) for row in rows],
        [row.component for row in rows],
        [row.code for row in rows],
        [row.message for row in rows],
        [row.agent_id for row in rows],
        [json.dumps(row.data) for row in rows],
    )
