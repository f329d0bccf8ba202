"""One line for people that says what a command did, and the figures beside it. Pure."""

from collections.abc import Collection, Sequence
from typing import Any

from redflag_dispatcher.report_body import ListedInventory
from redflag_wire.plan import Plan
from redflag_wire.report_bodies import InstalledItem, InstallResult

MILLISECONDS = 1000  # in a second
NAMED = 3  # packages named in a line; the rest is counted


def of_inventory(inventory: ListedInventory) -> dict[str, Any]:
    """Return the summary of a scan."""
    updates, security = len(inventory.rows), sum(row.security for row in inventory.rows)
    if inventory.base is not None:
        return _of_changes(inventory)
    text = f"{_count(updates, 'update')} available, {security} of them security" if updates else "Up to date"
    return {
        "text": text,
        "manager": inventory.manager,
        "updates": updates,
        "security": security,
        "rows_refused": len(inventory.bad),
        "problems": inventory.problems[:NAMED],
        "reboot_required": inventory.reboot_required,
    }


def _of_changes(inventory: ListedInventory) -> dict[str, Any]:
    changed, gone = len(inventory.rows), len(inventory.gone)
    text = f"{_count(changed, 'update')} new or changed, {gone} gone" if changed or gone else "Nothing new"
    return {
        "text": text,
        "manager": inventory.manager,
        "changed": changed,
        "gone": gone,
        "rows_refused": len(inventory.bad),
        "problems": inventory.problems[:NAMED],
        "reboot_required": inventory.reboot_required,
    }


def of_plan(plan: Plan, extra: int, removes: int, download_bytes: int | None) -> dict[str, Any]:
    """Return the summary of a dry run."""
    text = f"Plan of {_count(len(plan.items), 'change')}"
    if extra:
        text += f", {extra} beyond what was asked for"
    if removes:
        text += f", {_count(removes, 'removal')}"
    return {
        "text": text,
        "changes": len(plan.items),
        "extra": extra,
        "removes": removes,
        "download_bytes": download_bytes,
    }


def of_install(
    result: InstallResult, asked: Collection[tuple[str, str]], *, back: bool = False
) -> dict[str, Any]:
    """Return the summary of an installation.

    Args:
        result: the body.
        asked: (name, architecture) of the packages the command named; others are dependencies.
        back: whether it went back to older versions.
    """
    done = [item for item in result.items if item.ok]
    failed = [item for item in result.items if not item.ok]
    if result.drift is not None:
        text = "Nothing done: the plan is no longer the approved one"
    elif not done:
        text = f"{_count(len(failed), 'package')} failed: {_names(failed)}" if failed else "Nothing to do"
    else:
        chosen = [item for item in done if (item.name, item.arch) in asked] or done
        rest = len(done) - len(chosen[:NAMED])
        text = ", ".join(_change(item, back) for item in chosen[:NAMED])
        if rest:
            others = "dependency" if rest == 1 else "dependencies"
            text += f" and {rest} more" if len(chosen) > NAMED else f" and {rest} {others}"
        if failed:
            text += f"; {len(failed)} failed: {_names(failed)}"
        text += f", {_duration(result.duration_ms)}"
    text += "".join(f"; {one}" for one in _beside(result))
    return {
        "text": text[:1].upper() + text[1:],
        "changed": len(done),
        "failed": len(failed),
        "duration_ms": result.duration_ms,
        "conffiles_kept": list(result.conffiles_kept),
        "services_to_restart": list(result.services_to_restart),
        "repaired": result.repaired,
        "drift": None if result.drift is None else result.drift.model_dump(mode="json"),
    }


def _beside(result: InstallResult) -> list[str]:
    """Return what whoever runs the host must know beside what became of the packages."""
    told = []
    if result.repaired is not None:
        told.append("the package manager's database was put in order first")
    if result.conffiles_kept:
        told.append(f"kept as it was on the host: {_listed(result.conffiles_kept)}")
    if result.services_to_restart:
        told.append(f"to be restarted: {_listed(result.services_to_restart)}")
    return told


def _duration(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < MILLISECONDS else f"{round(milliseconds / MILLISECONDS)} s"


def _change(item: InstalledItem, back: bool) -> str:
    if item.old is None:
        return f"installed {item.name} {item.new}"
    if item.new is None:
        return f"removed {item.name} {item.old}"
    return f"{'took back' if back else 'upgraded'} {item.name} {item.old} -> {item.new}"


def _names(items: list[InstalledItem]) -> str:
    return _listed([item.name for item in items])


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(names[:NAMED])
    return first if len(names) <= NAMED else f"{first} and {len(names) - NAMED} more"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
