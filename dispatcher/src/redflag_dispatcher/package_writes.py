"""Writes what reports say about packages: inventories, plans, installations, released packages.

Guarantees: the operations of one host are written in the order it reported them, those of many hosts together, one
statement a table and round. An inventory followed by a newer whole one of the same manager is not written at all.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dispatcher.inventory_writes import InventoryOp, write_inventories
from redflag_dispatcher.package_results import (
    StateChange,
    after_install,
    after_plan,
    after_rollback,
)
from redflag_store.command_states import ServerState
from redflag_store.queries import inventory, package_results
from redflag_store.queries.inventory import UpdateEventRow
from redflag_store.queries.package_results import CommandPackage, HistoryRow, PlanRow
from redflag_store.states import UpdateEventKind
from redflag_wire.report_bodies import InstallResult

__all__ = ["InstallOp", "InventoryOp", "PackageOp", "PlanOp", "rounds", "write_packages"]


@dataclass(frozen=True, slots=True)
class PlanOp:
    """A dry run's plan."""

    agent: UUID
    row: PlanRow


@dataclass(frozen=True, slots=True)
class InstallOp:
    """An installation's result, or a rollback's."""

    agent: UUID
    command: UUID
    end: ServerState
    result: InstallResult
    rollback: bool
    agent_started_at: datetime | None
    agent_finished_at: datetime | None


PackageOp = InventoryOp | PlanOp | InstallOp
"""What a report says of packages. What it says nothing of, the end of its command releases (docs/updates.md)."""


def rounds(ops: Iterable[PackageOp]) -> list[list[PackageOp]]:
    """Return the operations in rounds: at most one of each host in a round, each host's in their order."""
    by_agent: defaultdict[UUID, list[PackageOp]] = defaultdict(list)
    for op in ops:
        queue = by_agent[op.agent]
        last = queue[-1] if queue else None
        if (
            isinstance(op, InventoryOp)
            and isinstance(last, InventoryOp)
            and last.listed.manager == op.listed.manager
            and op.listed.base is None
        ):
            queue[-1] = op
        else:
            queue.append(op)
    return [[op for op in turn if op is not None] for turn in zip_longest(*by_agent.values())]


async def write_packages(
    session: AsyncSession, ops: Sequence[PackageOp], *, at: datetime, new_id: Callable[[], UUID]
) -> list[tuple[UUID, str]]:
    """Write all operations; the caller holds the locks of their agents' rows.

    Returns:
        The (agent, manager) pairs whose whole inventory is to be asked for.
    """
    wanted: dict[tuple[UUID, str], None] = {}
    for turn in rounds(ops):
        found = await write_inventories(
            session, [op for op in turn if isinstance(op, InventoryOp)], at=at, new_id=new_id
        )
        for pair, wants in found.items():
            if wants:
                wanted[pair] = None
            else:
                wanted.pop(pair, None)
        await _write_results(
            session, [op for op in turn if not isinstance(op, InventoryOp)], at=at, new_id=new_id
        )
    return list(wanted)


async def _write_results(
    session: AsyncSession,
    ops: list[PlanOp | InstallOp],
    *,
    at: datetime,
    new_id: Callable[[], UUID],
) -> None:
    if not ops:
        return
    commands = [op.row.command_id if isinstance(op, PlanOp) else op.command for op in ops]
    packages: defaultdict[UUID, list[CommandPackage]] = defaultdict(list)
    for package in await package_results.packages_of(session, commands):
        packages[package.command_id].append(package)
    changes: list[StateChange] = []
    returned: list[StateChange] = []
    for op, command in zip(ops, commands, strict=True):
        if isinstance(op, InstallOp) and op.rollback:
            others, back = after_rollback(op.agent, packages[command], op.result, op.end)
            changes.extend(others)
            returned.extend(back)
        else:
            changes.extend(_changes(op, packages[command]))
    await package_results.set_package_states(session, changes, at)
    await package_results.return_to_pending(session, returned, at)
    await package_results.write_plans(session, [op.row for op in ops if isinstance(op, PlanOp)])
    installs = [op for op in ops if isinstance(op, InstallOp)]
    await package_results.write_history(
        session, [row for op in installs for row in _history(op, at=at, new_id=new_id)]
    )
    await inventory.write_update_events(
        session, [row for op in installs for row in _events(op, at=at, new_id=new_id)]
    )


def _changes(op: PlanOp | InstallOp, packages: list[CommandPackage]) -> list[StateChange]:
    match op:
        case PlanOp():
            return after_plan(packages, op.row.extra_count)
        case InstallOp():
            return after_install(op.agent, packages, op.result, op.end)


def _history(op: InstallOp, *, at: datetime, new_id: Callable[[], UUID]) -> list[HistoryRow]:
    rows = []
    for item in op.result.items:
        both = "rollback" if op.rollback else "upgrade"
        action = "install" if item.old is None else "remove" if item.new is None else both
        rows.append(
            HistoryRow(
                id=new_id(),
                agent_id=op.agent,
                command_id=op.command,
                manager=op.result.manager,
                name=item.name,
                arch=item.arch,
                old_version=item.old,
                new_version=item.new,
                action=action,
                result="succeeded" if item.ok else "failed",
                agent_started_at=op.agent_started_at,
                agent_finished_at=op.agent_finished_at,
                stored_at=at,
            )
        )
    return rows


def _events(op: InstallOp, *, at: datetime, new_id: Callable[[], UUID]) -> list[UpdateEventRow]:
    done = UpdateEventKind.ROLLED_BACK if op.rollback else UpdateEventKind.INSTALLED
    return [
        UpdateEventRow(
            id=new_id(),
            at=at,
            key=(op.agent, op.result.manager, item.name, item.arch),
            kind=(done if item.ok else UpdateEventKind.FAILED).value,
            from_version=item.old,
            to_version=item.new,
            command_id=op.command,
        )
        for item in op.result.items
    ]
