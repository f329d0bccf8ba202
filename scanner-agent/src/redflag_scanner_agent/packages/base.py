"""What a package manager must offer to the helper, and how two plans differ.

The order of the helper's calls is scan, plan, install; `probe` answers after a crash. All methods raise
`PackageManagerError` or nothing. A manager never acts on more than the plan it is given.
"""

from collections.abc import Callable
from typing import Protocol

from redflag_wire.command_params import PackageRef, PlanMode
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

    async def plan(self, request: list[PackageRef], mode: PlanMode = PlanMode.PACKAGES) -> Plan:
        """The exact set of changes that a request means; changes nothing.

        Args:
            request: the versions to install (`packages`) or to return to (`rollback`); empty in the modes in
                which the host finds the packages itself.
            mode: `security` is every security update available now, `full` what a full upgrade does, removals
                included. Both may come to a plan without items: then there is nothing to do.

        Raises:
            NameRefusedError, NotAvailableError, HeldError, PinnedError: an entry that is not in the fresh
                inventory, or, to roll back, a version that is not there any more or is not an older one.
            UnresolvableError: there is no consistent way.
        """
        ...

    async def download_bytes(self, plan: Plan) -> int | None:
        """How much would be fetched to carry out a plan; None when that cannot be told. Raises nothing."""
        ...

    async def install(
        self, plan: Plan, on_step: Callable[[str], None], *, repair: bool = False
    ) -> InstallResult:
        """Carry out exactly this plan, or nothing when the host would now do something else (`drift`).

        Only a plan whose mode is `rollback`, or one that itself lists downgrades, may put older versions in place.

        Args:
            plan: as this manager made it.
            on_step: called when each step begins: `repair` (only when something is repaired), `simulate`,
                `download`, `install`, `verify`. Until `install` nothing of the plan has changed the host: an
                `on_step` that raises `CancelledByOperatorError` then, or at `install` itself, stops it there.
                What it raises goes through to the caller.
            repair: whether a database that an earlier run left half written may be put in order first; the result
                says so in `repaired`. Otherwise such a host is refused.

        Raises:
            DatabaseInterruptedError: an earlier run was cut off, and `repair` is false or did not help.
            LockHeldError: another program is at work.
            MirrorUnreachableError: a download failed.
        """
        ...

    async def at_work(self) -> str | None:
        """The program that changes packages on this host now, for people, whoever started it; None for none."""
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

    A plan without items that was never started is a success: there was nothing to do.

    An exit code that is not zero although every item is as planned means that something else on the host is not
    in order (a package that was broken before, a trigger): `partial`, so that somebody looks.
    """
    if result.drift is not None:
        return Outcome.PLAN_DRIFT
    if not result.items and result.exit_code is None:
        return Outcome.SUCCEEDED
    if all(item.ok for item in result.items):
        return Outcome.SUCCEEDED if result.exit_code == 0 else Outcome.PARTIAL
    untouched = all(item.new == item.old for item in result.items)
    return Outcome.FAILED if untouched else Outcome.PARTIAL
