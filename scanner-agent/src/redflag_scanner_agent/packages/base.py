"""What a package manager must offer to the helper, and how two plans differ.

The order of the helper's calls is scan, plan, install; `probe` answers after a crash. All methods raise
`PackageManagerError` or nothing. A manager never acts on more than the plan it is given.
"""

from collections.abc import Callable
from typing import Protocol

from redflag_wire.command_params import PackageRef
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import (
    InstallResult,
    Inventory,
    ManagerCapability,
    Plan,
    PlanDrift,
)


class PackageManager(Protocol):
    """One package manager of one host."""

    @property
    def name(self) -> str:
        """The manager's name on the wire, such as `apt`."""
        ...

    def capabilities(self) -> ManagerCapability:
        """Whether this manager can install here, and why not if it cannot."""
        ...

    async def scan(self, *, refresh: bool) -> Inventory:
        """Look at what is offered; with `refresh` fetch fresh lists first if this process may."""
        ...

    async def plan(self, request: list[PackageRef]) -> Plan:
        """The exact set of changes that installing the requested versions means; changes nothing.

        Raises:
            NameRefusedError, NotAvailableError, HeldError: an entry that is not in the fresh inventory.
            UnresolvableError: there is no consistent way.
        """
        ...

    async def install(self, plan: Plan, on_step: Callable[[str], None]) -> InstallResult:
        """Carry out exactly this plan, or nothing when the host would now do something else (`drift`).

        `on_step` is called with `simulate`, `install` and `verify` when each begins.
        """
        ...

    async def probe(self, plan: Plan) -> Outcome:
        """How far a plan got on this host: succeeded, partial, failed (not begun) or unknown."""
        ...


def difference(planned: Plan, now: Plan) -> PlanDrift | None:
    """How what would happen now differs from what was planned; None when it is the same, item for item.

    `missing` items are in the plan only, `extra` ones in what would happen now, and `changed` ones in both with
    another version, origin or action; of those the current form is given.
    """
    before = {(item.name, item.arch): item for item in planned.items}
    after = {(item.name, item.arch): item for item in now.items}
    missing = [before[key] for key in sorted(before.keys() - after.keys())]
    extra = [after[key] for key in sorted(after.keys() - before.keys())]
    changed = [after[key] for key in sorted(before.keys() & after.keys()) if before[key] != after[key]]
    if not (missing or extra or changed):
        return None
    return PlanDrift(missing=missing, extra=extra, changed=changed)


def outcome_of(result: InstallResult) -> Outcome:
    """What an installation came to, from what dpkg and its like say afterwards rather than from exit codes.

    An exit code that is not zero although every item is as planned means that something else on the host is not
    in order (a package that was broken before, a trigger): `partial`, so that somebody looks.
    """
    if result.drift is not None:
        return Outcome.PLAN_DRIFT
    if all(item.ok for item in result.items):
        return Outcome.SUCCEEDED if result.exit_code == 0 else Outcome.PARTIAL
    untouched = all(item.new == item.old for item in result.items)
    return Outcome.FAILED if untouched else Outcome.PARTIAL
