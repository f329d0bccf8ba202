"""The operator's word on updates: approved, rejected, ignored, taken back; and what waits for a command.

Guarantees: an approval or a rejection is for the candidate that stands in the database while the host's row is
locked, never for another version than the one asked for. A package a command works on goes on waiting for it. Each word
is an event, and an approval a row of its own besides.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, case, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.command_states import END_STATES
from redflag_store.engine import driver_connection
from redflag_store.queries.inventory import UpdateEventRow, split_keys, write_update_events
from redflag_store.states import PackageUpdateState, UpdateEventKind
from redflag_store.tables import Command, PackageState
from redflag_wire.clock import Clock
from redflag_wire.ids import new_id

S: Final = PackageUpdateState

_EVENT_OF: Final = {
    S.APPROVED: UpdateEventKind.APPROVED,
    S.REJECTED: UpdateEventKind.REJECTED,
    S.IGNORED: UpdateEventKind.IGNORED,
    S.PENDING: UpdateEventKind.RESET,
}
WORDS: Final = frozenset(_EVENT_OF)
"""The states an operator can put an update into; `pending` takes back what was said."""

_KEYS: Final = "unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS k (agent_id, manager, name, arch)"
_SAME: Final = "p.agent_id = k.agent_id AND p.manager = k.manager AND p.name = k.name AND p.arch = k.arch"

_APPROVE: Final = f"""
UPDATE package_state p SET approved_version = p.candidate, changed_at = $5,
    state = CASE WHEN p.state IN ('installing', 'checking_dependencies') THEN p.state ELSE 'approved' END
FROM {_KEYS} WHERE {_SAME}
"""  # noqa: S608 - built from the constants above only
_APPROVALS: Final = """
INSERT INTO approval (id, agent_id, manager, name, arch, version, operator, intent_id, at)
SELECT i.*, $7, $8::uuid, $9::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
     AS i (id, agent_id, manager, name, arch, version)
ON CONFLICT (agent_id, manager, name, arch, version) WHERE lapsed_at IS NULL DO NOTHING
"""
_DECIDE: Final = f"""
UPDATE package_state p SET approved_version = NULL, changed_at = $5,
    state = CASE WHEN $6::text = 'pending' AND p.availability = 'held' THEN 'held'
                 WHEN $6::text = 'pending' AND p.candidate IS NULL THEN 'updated' ELSE $6::text END
FROM {_KEYS} WHERE {_SAME}
"""  # noqa: S608 - built from the constants above only
_LAPSE: Final = """
UPDATE approval a SET lapsed_at = $5
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS k (agent_id, manager, name, arch)
WHERE a.agent_id = k.agent_id AND a.manager = k.manager AND a.name = k.name AND a.arch = k.arch
  AND a.lapsed_at IS NULL
"""


async def lock_hosts(session: AsyncSession, agents: Sequence[UUID]) -> None:
    """Lock the rows of these hosts in the order of their ids, as ingest does; held until the commit."""
    connection = await driver_connection(session)
    await connection.execute(
        "SELECT 1 FROM agent WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE", list(agents)
    )


async def decide(
    session: AsyncSession,
    clock: Clock,
    rows: Sequence[PackageState],
    word: PackageUpdateState,
    *,
    operator: str,
    intent_id: UUID,
    random: Callable[[int], bytes],
) -> None:
    """Write an operator's word on these updates; the caller holds their hosts' locks and commits.

    Args:
        session: with the locks.
        clock: the server's.
        rows: as read under the locks; each once.
        word: one of `WORDS`. Approving is at the candidates the rows name.
        operator: whose word.
        intent_id: the signed intent, stored already.
        random: makes ids.
    """
    if not rows:
        return
    now = clock.now()
    connection = await driver_connection(session)
    keys = [(row.agent_id, row.manager, row.name, row.arch) for row in rows]
    columns = split_keys(keys)
    if word is S.APPROVED:
        await connection.execute(_APPROVE, *columns, now)
        ids = [new_id(clock, random) for _ in rows]
        versions = [row.candidate for row in rows]
        await connection.execute(_APPROVALS, ids, *columns, versions, operator, intent_id, now)
    else:
        await connection.execute(_DECIDE, *columns, now, word.value)
        await connection.execute(_LAPSE, *columns, now)
    detail = json.dumps({"operator": operator, "intent": str(intent_id)})
    await write_update_events(
        session,
        [
            UpdateEventRow(
                new_id(clock, random),
                now,
                key,
                _EVENT_OF[word].value,
                row.installed,
                row.candidate,
                detail=detail,
            )
            for key, row in zip(keys, rows, strict=True)
        ],
    )


def _running(*kinds: str) -> ColumnElement[bool]:
    """Whether the command a package points at is one of `kinds` and has no end yet."""
    return (
        select(col(Command.id))
        .where(
            col(Command.id) == col(PackageState.command_id),
            col(Command.kind).in_(kinds),
            col(Command.state).not_in(sorted(END_STATES)),
        )
        .correlate(PackageState)
        .exists()
    )


async def wait_for_command(
    session: AsyncSession,
    agent_id: UUID,
    packages: Sequence[tuple[str, str, str]],
    command_id: UUID,
    *,
    state: PackageUpdateState,
    at: datetime,
) -> None:
    """Let these packages (manager, name, architecture) of a host wait for what `command_id` does with them.

    A package that a running installation works on goes on waiting for that one.
    """
    await session.execute(
        update(PackageState)
        .where(
            col(PackageState.agent_id) == agent_id,
            tuple_(col(PackageState.manager), col(PackageState.name), col(PackageState.arch)).in_(
                list(packages)
            ),
            ~_running("install_updates", "rollback_update"),
        )
        .values(state=state.value, command_id=command_id, changed_at=at),
        execution_options={"synchronize_session": False},
    )


@dataclass(frozen=True, slots=True)
class Wait:
    """A package that waits for the plan a command is to make."""

    agent_id: UUID
    manager: str
    name: str
    arch: str
    command_id: UUID


_WAIT: Final = """
UPDATE package_state p SET state = 'checking_dependencies', command_id = k.command_id, changed_at = $6
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[])
     AS k (agent_id, manager, name, arch, command_id)
WHERE p.agent_id = k.agent_id AND p.manager = k.manager AND p.name = k.name AND p.arch = k.arch
  AND p.state <> 'installing'
"""


async def wait_for_commands(session: AsyncSession, waits: Sequence[Wait], *, at: datetime) -> None:
    """Let packages of many hosts wait for their plans, as `wait_for_command` does for one; the hosts are locked."""
    if waits:
        connection = await driver_connection(session)
        await connection.execute(
            _WAIT,
            [one.agent_id for one in waits],
            [one.manager for one in waits],
            [one.name for one in waits],
            [one.arch for one in waits],
            [one.command_id for one in waits],
            at,
        )


async def note_confirmation(
    session: AsyncSession, agent_id: UUID, plan_command_id: UUID, at: datetime
) -> None:
    """Move on the packages that waited for a person's word on the plan this dry run made."""
    approved = col(PackageState.approved_version) == col(PackageState.candidate)
    await session.execute(
        update(PackageState)
        .where(
            col(PackageState.agent_id) == agent_id,
            col(PackageState.command_id) == plan_command_id,
            col(PackageState.state) == S.PENDING_DEPENDENCIES.value,
        )
        .values(state=case((approved, S.APPROVED.value), else_=S.PENDING.value), changed_at=at),
        execution_options={"synchronize_session": False},
    )
