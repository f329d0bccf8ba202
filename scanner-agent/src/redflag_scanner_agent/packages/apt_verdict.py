"""Judging an installation by dpkg's database: item by item, and as a whole.

Rules only. A planned package counts as done when dpkg has it installed and configured in exactly the planned
version; a planned removal when its files are gone.
"""

from redflag_scanner_agent.packages.apt_dpkg import DpkgStates
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import InstalledItem, Plan, PlanItem


def is_done(item: PlanItem, states: DpkgStates) -> bool:
    """Whether dpkg's state of this package is what the plan wanted."""
    state = states.get(item.name, item.arch)
    if item.new is None:
        return state is None or not state.present
    return state is not None and state.present and state.sound and state.version == item.new


def is_untouched(item: PlanItem, states: DpkgStates) -> bool:
    """Whether the version on the host is the one from before the plan."""
    return states.version(item.name, item.arch) == item.old


def installed_items(plan: Plan, states: DpkgStates) -> list[InstalledItem]:
    """What became of each item; `new` is the version that is on the host now, whatever was planned."""
    return [
        InstalledItem(
            name=item.name,
            arch=item.arch,
            old=item.old,
            new=states.version(item.name, item.arch),
            ok=is_done(item, states),
        )
        for item in plan.items
    ]


def shortfalls(plan: Plan, states: DpkgStates) -> list[str]:
    """One line for people per item that is not as planned, with dpkg's own word for its state."""
    lines = []
    for item in plan.items:
        if is_done(item, states):
            continue
        state = states.get(item.name, item.arch)
        found = f"{state.status} {state.version}" if state is not None and state.present else "not installed"
        wanted = f"installed {item.new}" if item.new is not None else "removed"
        lines.append(f"{item.name}:{item.arch} should be {wanted}, dpkg says {found}")
    return lines


def judge(plan: Plan, states: DpkgStates) -> Outcome:
    """How far a plan got: succeeded, failed (nothing of it was begun) or partial."""
    if all(is_done(item, states) for item in plan.items):
        return Outcome.SUCCEEDED
    if all(is_untouched(item, states) for item in plan.items):
        return Outcome.FAILED
    return Outcome.PARTIAL
