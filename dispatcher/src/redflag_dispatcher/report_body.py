"""Reads the opened body of a checked report; pure, and safe to run in a thread.

One bad row of an inventory, a row listed twice included, is left out and named; it never hides the good ones. A
body that cannot be read at all is a fault that is kept beside the report, which counts without it.
"""

from dataclasses import dataclass, field, replace
from uuid import UUID

from redflag_dispatcher.report_check import CheckedReport
from redflag_store.queries.inventory import Listed
from redflag_wire.errors import SchemaRefusedError, WireError
from redflag_wire.report_bodies import (
    Body,
    Facts,
    HostEvent,
    InstallResult,
    Inventory,
    InventoryChanges,
    PlanResult,
    Storage,
    System,
    UpdateItem,
    parse_body,
    split_changes,
    split_inventory,
)

BAD_ROWS_NAMED = 20  # in one event; the rest is counted


@dataclass(frozen=True, slots=True)
class ListedInventory:
    """An inventory, or what changed in one, as rows.

    Attributes:
        manager: which package manager.
        source_age_s: seconds since its lists were fetched.
        reboot_required: whether the host waits for a restart.
        rows: what it lists, each key once.
        bad: what was left out, one text per row.
        problems: what hindered the scan.
        digest: of the host's set, broken rows included; None from a host that keeps none.
        base: digest of the set these changes build on; None when this is the whole.
        gone: (name, architecture) of what is listed no more; for changes only, each once.
    """

    manager: str
    source_age_s: int | None
    reboot_required: bool
    rows: list[Listed]
    bad: list[str]
    problems: list[str]
    digest: str | None = None
    base: str | None = None
    gone: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class ReadReport:
    """A checked report with its body read.

    Attributes:
        checked: the report.
        inventory: of an inventory body.
        facts: of a facts body.
        plan: of a dry run's body.
        install: of an installation's body.
        event: of an event body.
        system: of a body of system figures.
        storage: of a body of volumes.
        fault: why the body could not be read, None when it was or there is none.
    """

    checked: CheckedReport
    inventory: ListedInventory | None = None
    facts: Facts | None = None
    plan: PlanResult | None = None
    install: InstallResult | None = None
    event: HostEvent | None = None
    system: System | None = None
    storage: Storage | None = None
    fault: str | None = field(default=None)


def read_report(checked: CheckedReport) -> ReadReport:
    """Read a report's body."""
    read = ReadReport(checked, fault=checked.body_fault)
    if checked.body is None:
        return read
    try:
        _read(read, checked.report.agent, checked.body)
    except WireError as error:
        read.fault = str(error)
    return read


def without_body(checked: CheckedReport, reason: str) -> ReadReport:
    """Return a report whose body the database refuses: what its signed head says counts, the body does not."""
    bare = replace(checked, body=None, sealed=b"")
    return ReadReport(bare, fault=f"the database refuses it: {reason}")


def _read(read: ReadReport, agent: UUID, data: bytes) -> None:
    for split in (split_inventory, split_changes):
        try:
            inventory, bad = split(data)
        except SchemaRefusedError as error:
            if error.code != "body_type":
                raise
        else:
            read.inventory = list_inventory(
                agent, inventory, [f"row {row.index}: {row.reason}" for row in bad]
            )
            return
    body: Body = parse_body(data)
    match body:
        case Facts():
            read.facts = body
        case PlanResult():
            read.plan = body
        case InstallResult():
            read.install = body
        case HostEvent():
            read.event = body
        case System():
            read.system = body
        case Storage():
            read.storage = body
        case Inventory() | InventoryChanges():  # taken above
            raise SchemaRefusedError("body_type", "an inventory twice")


def list_inventory(agent: UUID, inventory: Inventory | InventoryChanges, bad: list[str]) -> ListedInventory:
    """Return an inventory, or its changes, as rows to compare with the store."""
    rows: dict[tuple[str, str], Listed] = {}
    changes = inventory if isinstance(inventory, InventoryChanges) else None
    for item in inventory.updates if isinstance(inventory, Inventory) else inventory.changed:
        if item.manager != inventory.manager:
            bad.append(f"{item.name} {item.arch}: of manager {item.manager}")
        elif (item.name, item.arch) in rows:
            bad.append(f"{item.name} {item.arch}: listed twice")
        else:
            rows[item.name, item.arch] = _listed(agent, item)
    return ListedInventory(
        manager=inventory.manager,
        source_age_s=inventory.source_age_s,
        reboot_required=inventory.reboot_required,
        rows=list(rows.values()),
        bad=bad,
        problems=list(inventory.problems),
        digest=inventory.digest,
        base=None if changes is None else changes.base,
        gone=[]
        if changes is None
        else [key for key in dict.fromkeys((one.name, one.arch) for one in changes.gone) if key not in rows],
    )


def _listed(agent: UUID, item: UpdateItem) -> Listed:
    return Listed(
        agent_id=agent,
        manager=item.manager,
        name=item.name,
        arch=item.arch,
        installed=item.installed,
        candidate=item.candidate,
        origin=item.origin,
        suite=item.suite,
        security=item.security,
        availability=item.state,
        size=item.size,
        site=item.site,
        trusted=item.trusted,
        severity=item.severity,
        reason=item.reason,
        phased_percent=item.phased_percent,
    )
