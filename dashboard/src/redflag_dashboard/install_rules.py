"""May this plan be installed? Pure rules; every one of them must hold, and a refusal names all that is missing.

In order: the plan is the newest of its host and manager, because an older one no longer says what would happen;
every package asked for is approved at exactly the version planned; and whatever the plan does beyond the packages
asked for was confirmed by an operator. Where the host found the packages itself, or goes back to older versions,
no approval says what was wanted: then everything the plan does was confirmed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.plan import Plan, PlanItem


class Refusal(StrEnum):
    """Why a plan may not be installed; the values are problem codes."""

    PLAN_OUTDATED = "plan_outdated"
    NOT_APPROVED = "not_approved"
    CONFIRMATION_REQUIRED = "confirmation_required"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Attributes:
        refusal: None when it may be installed.
        missing: what exactly is missing, one entry per package or change.
    """

    refusal: Refusal | None = None
    missing: list[dict[str, Any]] = field(default_factory=list)


PackageId = tuple[str, str]
"""Name and architecture, within one package manager."""


def judge(plan: Plan, *, newest: bool, confirmed: bool, approved: Mapping[PackageId, str | None]) -> Verdict:
    """Judge a plan.

    Args:
        plan: as the host wrote it.
        newest: no later plan of this host and manager exists.
        confirmed: an operator confirmed this digest for this host.
        approved: approved version of each package of the host that has one.
    """
    if not newest:
        return Verdict(Refusal.PLAN_OUTDATED)
    if plan.mode is not PlanMode.PACKAGES:
        everything = [_change(item) for item in plan.items]
        return Verdict() if confirmed else Verdict(Refusal.CONFIRMATION_REQUIRED, everything)
    unapproved = [
        {
            "name": one.name,
            "arch": one.arch,
            "planned": one.version,
            "approved": approved.get((one.name, one.arch)),
        }
        for one in plan.request
        if approved.get((one.name, one.arch)) != one.version
    ]
    if unapproved:
        return Verdict(Refusal.NOT_APPROVED, unapproved)
    beyond = beyond_request(plan)
    if beyond and not confirmed:
        return Verdict(Refusal.CONFIRMATION_REQUIRED, beyond)
    return Verdict()


def beyond_request(plan: Plan) -> list[dict[str, Any]]:
    """The changes that were not asked for, removals first: what there is to confirm.

    A package that was asked for but would be removed, downgraded, or brought to another version than the one
    asked for, was not asked for like that.
    """
    asked = {(one.name, one.arch): one for one in plan.request}
    changes = [
        _change(item)
        for item in plan.items
        if not _is_what_was_asked(item.new, item.action, asked.get((item.name, item.arch)))
    ]
    return sorted(changes, key=lambda change: change["action"] != "remove")


def _change(item: PlanItem) -> dict[str, Any]:
    return {"name": item.name, "arch": item.arch, "old": item.old, "new": item.new, "action": item.action}


def _is_what_was_asked(new: str | None, action: str, asked: PackageRef | None) -> bool:
    return asked is not None and new == asked.version and action in ("install", "upgrade")


def refs(packages: Sequence[tuple[str, str, str]]) -> list[PackageRef]:
    """Package references of (name, architecture, version), sorted."""
    return [PackageRef(name=name, arch=arch, version=version) for name, arch, version in sorted(packages)]
