"""Batch forms of the two append-only records: moves of commands and system events; one statement a batch.

Guarantees nothing about legality: the caller decided the move by `redflag_store.command_states` and holds the
command's row lock.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.event_folding import MESSAGE_MAX_CHARS, bounded, fold_of
from redflag_store.states import Severity

CHANGE_CHANNEL: Final = "redflag_change"
"""Who listens here hears of each command that moved, at commit."""


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
    """One row of `system_event`; `code` is a constant snake_case name, `count` how often it happened already."""

    id: UUID
    at: datetime
    severity: Severity
    component: str
    code: str
    message: str
    agent_id: UUID | None = None
    data: dict[str, Any] = field(default_factory=dict)
    count: int = 1


_MOVES = """
INSERT INTO command_event (id, command_id, at, from_state, to_state, cause, agent_at, detail)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                     $7::timestamptz[], $8::jsonb[])
"""

_EVENTS = """
INSERT INTO system_event (id, at, severity, component, code, message, agent_id, data, count)
SELECT e.id, e.at, e.severity, e.component, e.code, e.message, a.id, e.data, e.count
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
            $8::jsonb[], $9::bigint[])
     AS e (id, at, severity, component, code, message, agent_id, data, count)
LEFT JOIN agent a ON a.id = e.agent_id
"""

_FOLDED = """
INSERT INTO system_event (id, at, severity, component, code, message, agent_id, data, count, fold)
SELECT e.id, e.at, e.severity, e.component, e.code, e.message, a.id, e.data, e.count, e.fold
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
            $8::jsonb[], $9::bigint[], $10::text[])
     AS e (id, at, severity, component, code, message, agent_id, data, count, fold)
LEFT JOIN agent a ON a.id = e.agent_id
ORDER BY e.fold
ON CONFLICT (fold) WHERE fold IS NOT NULL DO UPDATE
SET count = system_event.count + EXCLUDED.count, last_at = EXCLUDED.at, data = EXCLUDED.data
"""


# All notices of a transaction are queued once, at its commit.
_NOTICE = f"""
SELECT pg_notify('{CHANGE_CHANNEL}', json_build_object('kind', 'command', 'id', c.id)::text)
FROM (SELECT DISTINCT id FROM unnest($1::uuid[]) AS u (id)) AS c
"""  # noqa: S608 - a constant


async def write_moves(session: AsyncSession, rows: Sequence[MoveRow]) -> None:
    """Append rows to `command_event`; who listens on `CHANGE_CHANNEL` hears of each command once."""
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
    """Append rows to `system_event`; an agent id the database does not know is left out of its column.

    The same thing again within a while counts on the row of the first time (`redflag_store.event_folding`).
    """
    plain: list[EventRow] = []
    folded: dict[str, EventRow] = {}
    for row in rows:
        fold = fold_of(
            at=row.at, severity=row.severity, component=row.component, code=row.code, message=row.message,
            agent_id=row.agent_id, data=row.data,
        )  # fmt: skip
        if fold is None:
            plain.append(row)
        else:
            before = folded.get(fold)
            folded[fold] = (
                row if before is None else replace(before, count=before.count + row.count, data=row.data)
            )
    if not rows:
        return
    connection = await driver_connection(session)
    if plain:
        await connection.execute(_EVENTS, *_columns(plain))
    if folded:
        await connection.execute(_FOLDED, *_columns(list(folded.values())), list(folded))


def _columns(rows: Sequence[EventRow]) -> list[list[Any]]:
    return [
        [row.id for row in rows],
        [row.at for row in rows],
        [str(row.severity) for row in rows],
        [row.component for row in rows],
        [row.code for row in rows],
        [row.message[:MESSAGE_MAX_CHARS] for row in rows],
        [row.agent_id for row in rows],
        [bounded(row.data) for row in rows],
        [row.count for row in rows],
    ]
