"""What commands did to packages: plans, history, and the states packages take when their command ends.

Guarantees: rows of `update_plan` and `update_history` are appended only; a package's state changes under the lock of
its agent's row, which the caller holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_store.engine import driver_connection
from redflag_store.queries.inventory import PackageKey, split_keys


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of `update_history`."""

    id: UUID
    agent_id: UUID
    command_id: UUID
    manager: str
    name: str
    arch: str
    old_version: str | None
    new_version: str | None
    action: str
    result: str
    agent_started_at: datetime | None
    agent_finished_at: datetime | None
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A row of `update_plan`."""

    id: UUID
    agent_id: UUID
    command_id: UUID
    manager: str
    mode: str
    digest: str
    plan: bytes
    request: str  # JSON text
    item_count: int
    extra_count: int
    removes: int
    created_at: datetime


_HISTORY_COLUMNS = tuple(HistoryRow.__slots__)
_HISTORY = f"""
INSERT INTO update_history ({", ".join(_HISTORY_COLUMNS)})
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[],
                     $13::timestamptz[])
"""  # noqa: S608 - built from the constants above only

_PLAN_COLUMNS = tuple(PlanRow.__slots__)
_PLAN = f"""
INSERT INTO update_plan ({", ".join(_PLAN_COLUMNS)})
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bytea[],
                     $8::jsonb[], $9::integer[], $10::integer[], $11::integer[], $12::timestamptz[])
"""  # noqa: S608 - built from the constants above only

_OF_COMMANDS = """
SELECT agent_id, manager, name, arch, state, candidate, approved_version, command_id
FROM package_state WHERE command_id = ANY($1::uuid[]) FOR NO KEY UPDATE
"""

_SET_STATE = """
UPDATE package_state p SET state = n.state, installed = coalesce(n.installed, p.installed), changed_at = $7
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
     AS n (agent_id, manager, name, arch, state, installed)
WHERE p.agent_id = n.agent_id AND p.manager = n.manager AND p.name = n.name AND p.arch = n.arch
"""

_RETURN = """
UPDATE package_state p SET state = 'pending', installed = coalesce(n.installed, p.installed), approved_version = NULL,
                           changed_at = $6
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS n (agent_id, manager, name, arch, installed)
WHERE p.agent_id = n.agent_id AND p.manager = n.manager AND p.name = n.name AND p.arch = n.arch
"""

_LAPSE_ALL = """
UPDATE approval a SET lapsed_at = $5
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS g (agent_id, manager, name, arch)
WHERE a.agent_id = g.agent_id AND a.manager = g.manager AND a.name = g.name AND a.arch = g.arch
  AND a.lapsed_at IS NULL
"""


async def write_history(session: AsyncSession, rows: Sequence[HistoryRow]) -> None:
    """Append rows to `update_history`."""
    if rows:
        connection = await driver_connection(session)
        await connection.execute(
            _HISTORY, *[[getattr(row, name) for row in rows] for name in _HISTORY_COLUMNS]
        )


async def write_plans(session: AsyncSession, rows: Sequence[PlanRow]) -> None:
    """Append rows to `update_plan`."""
    if rows:
        connection = await driver_connection(session)
        await connection.execute(_PLAN, *[[getattr(row, name) for row in rows] for name in _PLAN_COLUMNS])


@dataclass(frozen=True, slots=True)
class CommandPackage:
    """A package a command works on."""

    key: PackageKey
    state: str
    candidate: str | None
    approved_version: str | None
    command_id: UUID


async def packages_of(session: AsyncSession, commands: Sequence[UUID]) -> list[CommandPackage]:
    """Lock and return the packages these commands work on."""
    if not commands:
        return []
    connection = await driver_connection(session)
    return [
        CommandPackage(
            (row["agent_id"], row["manager"], row["name"], row["arch"]),
            row["state"],
            row["candidate"],
            row["approved_version"],
            row["command_id"],
        )
        for row in await connection.fetch(_OF_COMMANDS, list(commands))
    ]


async def set_package_states(
    session: AsyncSession, states: Sequence[tuple[PackageKey, str, str | None]], at: datetime
) -> None:
    """Move packages to other states, with the version now installed where it is known.

    A package that is not stored is left out: a dependency nobody listed as an update.
    """
    if states:
        connection = await driver_connection(session)
        await connection.execute(
            _SET_STATE,
            *split_keys([key for key, _, _ in states]),
            [state for _, state, _ in states],
            [installed for _, _, installed in states],
            at,
        )


async def return_to_pending(
    session: AsyncSession, states: Sequence[tuple[PackageKey, str, str | None]], at: datetime
) -> None:
    """Let packages that are back at an older version be pending, their approvals lapsed; entries as above."""
    if states:
        connection = await driver_connection(session)
        keys = split_keys([key for key, _, _ in states])
        await connection.execute(_RETURN, *keys, [installed for _, _, installed in states], at)
        await connection.execute(_LAPSE_ALL, *keys, at)
