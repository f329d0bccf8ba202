"""What the end of a command means for the packages it worked on. Pure.

A package waits in ``checking_dependencies`` or ``installing`` for one command; when that command ends, however it
ends, the package leaves that state: nothing stays "installing" for ever.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias
from uuid import UUID

from redflag_store.command_states import ServerState
from redflag_store.queries.inventory import PackageKey
from redflag_store.queries.package_results import CommandPackage
from redflag_store.states import PackageUpdateState
from redflag_wire.plan import Plan
from redflag_wire.report_bodies import InstallResult

StateChange: TypeAlias = tuple[PackageKey, str, str | None]
"""A package, its new state, and the version now installed where that is known."""

_WAITING = frozenset({PackageUpdateState.CHECKING_DEPENDENCIES, PackageUpdateState.INSTALLING})
_TRIED = frozenset({ServerState.FAILED, ServerState.UNKNOWN})


def _before(package: CommandPackage) -> str:
    """Return where a package was before its command: approved, if that approval still fits."""
    approved = package.approved_version is not None and package.approved_version == package.candidate
    return (PackageUpdateState.APPROVED if approved else PackageUpdateState.PENDING).value


def after_end(packages: Iterable[CommandPackage], end: ServerState) -> list[StateChange]:
    """Release the packages of a command that ended without saying what became of each."""
    changes: list[StateChange] = []
    for package in packages:
        if package.state not in _WAITING:
            continue
        failed = package.state == PackageUpdateState.INSTALLING and end in _TRIED
        changes.append((package.key, PackageUpdateState.FAILED.value if failed else _before(package), None))
    return changes


def after_plan(packages: Iterable[CommandPackage], extra_count: int) -> list[StateChange]:
    """Return where the packages of a dry run stand: changes beyond the asked ones want a person's word."""
    return [
        (
            package.key,
            PackageUpdateState.PENDING_DEPENDENCIES.value if extra_count else _before(package),
            None,
        )
        for package in packages
        if package.state == PackageUpdateState.CHECKING_DEPENDENCIES
    ]


def after_install(
    agent: UUID, packages: Sequence[CommandPackage], result: InstallResult, end: ServerState
) -> list[StateChange]:
    """Return the states after an installation: each item by its own result, dependencies included."""
    by_item: dict[PackageKey, StateChange] = {}
    for item in result.items:
        key = (agent, result.manager, item.name, item.arch)
        state = PackageUpdateState.UPDATED if item.ok else PackageUpdateState.FAILED
        by_item[key] = (key, state.value, item.new if item.ok else None)
    if result.drift is not None:
        # Nothing was done: what was asked for waits for a new plan.
        return [
            (package.key, _before(package), None)
            for package in packages
            if package.state == PackageUpdateState.INSTALLING
        ]
    rest = [package for package in packages if package.key not in by_item]
    return [*by_item.values(), *after_end(rest, end)]


def after_rollback(
    agent: UUID, packages: Sequence[CommandPackage], result: InstallResult, end: ServerState
) -> tuple[list[StateChange], list[StateChange]]:
    """Return the states after a rollback, and apart from them the packages that are back at an older version.

    For those the update is there again, and nobody approved it: what was approved is what was taken back.
    """
    changes = after_install(agent, packages, result, end)
    back = {
        (agent, result.manager, item.name, item.arch)
        for item in result.items
        if item.ok and item.new is not None
    }
    returned = [
        (key, PackageUpdateState.PENDING.value, installed)
        for key, _, installed in changes
        if key in back and result.drift is None
    ]
    kept = {key for key, _, _ in returned}
    return [change for change in changes if change[0] not in kept], returned


def extra_changes(plan: Plan) -> tuple[int, int]:
    """Return how many changes of a plan nobody asked for, and how many of all are removals."""
    asked = {(one.name, one.arch, one.version) for one in plan.request}
    extra = sum((item.name, item.arch, item.new) not in asked for item in plan.items)
    return extra, sum(item.action == "remove" for item in plan.items)
