"""Writes inventories: only what differs, and which set of each host is held afterwards.

An inventory that says what is stored already costs no row but the time of the look.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dispatcher import inventory_digest_rules, inventory_rules
from redflag_dispatcher.inventory_digest_rules import Take
from redflag_dispatcher.inventory_rules import Decision
from redflag_dispatcher.report_body import ListedInventory
from redflag_store.queries import inventory
from redflag_store.queries.held_inventories import Held, held_inventories, managers_held, write_held
from redflag_store.queries.inventory import Difference
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.states import Severity, UpdateEventKind
from redflag_wire.limits import CAPABILITIES_MAX

COMPONENT = "ingest"


@dataclass(frozen=True, slots=True)
class InventoryOp:
    """An inventory of one manager, or what changed in it."""

    agent: UUID
    listed: ListedInventory

    @property
    def pair(self) -> tuple[UUID, str]:
        """Whose it is."""
        return (self.agent, self.listed.manager)


async def write_inventories(
    session: AsyncSession, ops: Sequence[InventoryOp], *, at: datetime, new_id: Callable[[], UUID]
) -> dict[tuple[UUID, str], bool]:
    """Write inventories, at most one of each host and manager; the caller holds the locks of their agents' rows.

    Returns:
        For each (agent, manager), whether the whole inventory is to be asked for.
    """
    if not ops:
        return {}
    held = await held_inventories(session, [op.pair for op in ops])
    ops = await _within_bounds(session, ops, held, at=at, new_id=new_id)
    takes = {op.pair: inventory_digest_rules.judge(held.get(op.pair), op.listed) for op in ops}
    written = [op for op in ops if takes[op.pair] in {Take.WHOLE, Take.CHANGES}]
    added = await _write_differences(session, written, takes, at=at, new_id=new_id)
    rows = [
        inventory_digest_rules.after(
            op.agent, held.get(op.pair), op.listed, takes[op.pair], added=added[op.pair], at=at
        )
        for op in ops
    ]
    await write_held(session, [row for row in rows if row is not None])
    # What does not fit is no inventory, but the host did look, and says whether it waits for a restart.
    await inventory.note_inventories(
        session, [(op.agent, op.listed.source_age_s, op.listed.reboot_required) for op in ops], at
    )
    return {
        op.pair: inventory_digest_rules.asks_for_whole(held.get(op.pair), takes[op.pair], at=at) for op in ops
    }


async def _within_bounds(
    session: AsyncSession,
    ops: Sequence[InventoryOp],
    held: Mapping[tuple[UUID, str], Held],
    *,
    at: datetime,
    new_id: Callable[[], UUID],
) -> list[InventoryOp]:
    """Leave out, and tell of, inventories of more package managers than a host may have."""
    new = [op.agent for op in ops if op.pair not in held]
    if not new:
        return list(ops)
    counts = await managers_held(session, new)
    refused = [op for op in ops if op.pair not in held and counts.get(op.agent, 0) >= CAPABILITIES_MAX]
    await write_events(
        session,
        [
            EventRow(
                new_id(), at, Severity.WARNING, COMPONENT, "inventory_refused",
                f"an inventory was left out: the host named more than {CAPABILITIES_MAX} package managers",
                op.agent, {"manager": op.listed.manager},
            )
            for op in refused
        ],
    )  # fmt: skip
    left_out = {op.pair for op in refused}
    return [op for op in ops if op.pair not in left_out]


async def note_asked(session: AsyncSession, pairs: Sequence[tuple[UUID, str]], at: datetime) -> None:
    """Remember that the whole of these inventories was asked for."""
    held = await held_inventories(session, pairs)
    rows = [
        replace(held[pair], asked_at=at)
        if pair in held
        else Held(*pair, None, None, 0, 0, None, looked_at=at, changed_at=at, asked_at=at)
        for pair in pairs
    ]
    await write_held(session, rows)


async def _write_differences(
    session: AsyncSession,
    ops: Sequence[InventoryOp],
    takes: dict[tuple[UUID, str], Take],
    *,
    at: datetime,
    new_id: Callable[[], UUID],
) -> Counter[tuple[UUID, str]]:
    """Write what differs; return how many updates each inventory has more than before."""
    added: Counter[tuple[UUID, str]] = Counter()
    if not ops:
        return added
    partial = [op for op in ops if takes[op.pair] is Take.CHANGES]
    found = await inventory.differences(
        session,
        [op.pair for op in ops if takes[op.pair] is Take.WHOLE],
        list(chain.from_iterable(op.listed.rows for op in ops)),
        [
            (*op.pair, name, arch)
            for op in partial
            for name, arch in (*((row.name, row.arch) for row in op.listed.rows), *op.listed.gone)
        ],
    )
    decided: list[tuple[Difference, Decision]] = [
        (one, inventory_rules.decide(one, at=at, new_id=new_id)) for one in found
    ]
    for one, decision in decided:
        if decision.row is None:
            added[one.key[:2]] -= 1
        elif decision.event is not None and decision.event.kind == UpdateEventKind.DISCOVERED:
            added[one.key[:2]] += 1
    await inventory.write_packages(
        session,
        [decision.row for _, decision in decided if decision.row is not None],
        [one.key for one, decision in decided if decision.row is None],
        at,
    )
    await inventory.write_update_events(
        session, [decision.event for _, decision in decided if decision.event is not None]
    )
    return added
