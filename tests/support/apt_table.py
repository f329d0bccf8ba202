"""The table of what apt's part of the agent does in every situation, made by doing it: real apt-get, real dpkg.

A situation is a bed; each of its cells starts from the same saved bed. Every cell ends with what dpkg itself says is
on the host then, and a scan or a plan that changed anything is an error whatever it answered.

    python -m tests.support.apt_table        prints the table as Markdown
"""

import asyncio
import contextlib
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from redflag_scanner_agent.packages.apt import AptManager
from redflag_scanner_agent.packages.base import outcome_of
from redflag_scanner_agent.packages.errors import LockHeldError, PackageManagerError
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.report_bodies import InstallResult, Inventory, Plan, PlanDrift, UpdateItem
from tests.support.apt_bed import AptBed, build_bed

COLUMNS = ("scan", "plan", "install", "drift", "rollback")
LOCK_WAIT_S = 1
T = TypeVar("T")
Change = Callable[[AptBed], None]


def nothing(_bed: AptBed) -> None:
    """No change."""


@contextlib.contextmanager
def quiet(_bed: AptBed) -> Iterator[None]:
    """Nobody else at work."""
    yield


@dataclass(kw_only=True)
class Situation:
    """One row.

    Attributes:
        name: for people.
        build: makes the host of it in an empty bed; the lists are as `build` leaves them.
        names: the packages that are asked for by name, in the newest versions the inventory has; empty for `mode`.
        mode: what plan, install and drift ask for when `names` is empty.
        back: the packages and versions that `rollback` asks for.
        allow: brings the host to where a plan can be made, for the cell drift.
        disturb: what happens between plan and installation, for the cell drift.
        forward: brings the host to where there is something to go back from, for the cell rollback.
        around: what goes on while the product works.
        repair: whether the host's policy allows repairs.
        signed, locking: how the bed is built.
    """

    name: str
    build: Change
    names: tuple[str, ...] = ()
    mode: PlanMode = PlanMode.FULL
    back: dict[str, str] = field(default_factory=lambda: {"demo": "1.0"})
    allow: Change = nothing
    disturb: Change = nothing
    forward: Change = nothing
    around: Callable[[AptBed], contextlib.AbstractContextManager[object]] = quiet
    repair: bool = False
    signed: bool = False

    def make(self, directory: Path) -> AptBed:
        """Build and save the bed."""
        bed = build_bed(directory, locking=True, signed=self.signed, method="copy")
        self.build(bed)
        bed.save()
        return bed


async def cell(situation: Situation, bed: AptBed, column: str) -> str:
    """Do one cell on a fresh copy of the situation and say what came of it."""
    bed.restore()
    manager = AptManager(
        apt_config=bed.config, work_dir=bed.directory / "work", can_install=True, lock_wait_s=LOCK_WAIT_S
    )
    run: dict[str, Callable[[Situation, AptBed, AptManager], Awaitable[str]]] = {
        "scan": _scan, "plan": _plan, "install": _install, "drift": _drift, "rollback": _rollback,
    }  # fmt: skip
    return await run[column](situation, bed, manager)


async def _scan(situation: Situation, bed: AptBed, manager: AptManager) -> str:
    before = bed.everything()
    with situation.around(bed):
        inventory = await manager.scan(refresh=True)
    _check_unchanged(before, bed)
    rows = [_row(item) for item in inventory.updates] or ["no updates"]
    return "; ".join(rows + _codes(inventory))


async def _plan(situation: Situation, bed: AptBed, manager: AptManager) -> str:
    before = bed.everything()
    with situation.around(bed):
        found = await _refused(_planned(situation, manager))
    _check_unchanged(before, bed)
    return found if isinstance(found, str) else _items(found)


async def _install(situation: Situation, bed: AptBed, manager: AptManager) -> str:
    with situation.around(bed):
        plan = await _refused(_planned(situation, manager))
        if isinstance(plan, str):
            # By name it is refused; a full upgrade must leave it alone as well.
            plan = await manager.plan([], PlanMode.FULL)
        return await _carried_out(plan, bed, manager, repair=situation.repair)


async def _drift(situation: Situation, bed: AptBed, manager: AptManager) -> str:
    situation.allow(bed)
    plan = await _planned(situation, manager)
    situation.disturb(bed)
    before = bed.everything()
    with situation.around(bed):
        found = await _refused(manager.install(plan, _no_step, repair=situation.repair))
    if not situation.repair:
        _check_unchanged(before, bed)
    if isinstance(found, str):
        return f"{found}; dpkg: {_truth(bed)}"
    told = _difference(found.drift) if found.drift is not None else "no drift"
    return f"{outcome_of(found).value}: {told}{_repaired(found)}; dpkg: {_truth(bed)}"


async def _rollback(situation: Situation, bed: AptBed, manager: AptManager) -> str:
    situation.forward(bed)
    refs = [PackageRef(name=name, arch="all", version=version) for name, version in situation.back.items()]
    with situation.around(bed):
        plan = await _refused(manager.plan(refs, PlanMode.ROLLBACK))
        if isinstance(plan, str):
            return f"{plan}; dpkg: {_truth(bed)}"
        assert all(item.action == "downgrade" for item in plan.items)
        return await _carried_out(plan, bed, manager, repair=situation.repair)


async def _carried_out(plan: Plan, bed: AptBed, manager: AptManager, *, repair: bool) -> str:
    before = bed.everything()
    result = await _refused(manager.install(plan, _no_step, repair=repair))
    if isinstance(result, str):
        _check_unchanged(before, bed)
        return f"{result}; dpkg: {_truth(bed)}"
    _check_items(result, bed)
    word = outcome_of(result).value if plan.items or result.drift is not None else "nothing to do"
    kept = f", kept {' '.join(result.conffiles_kept)}" if result.conffiles_kept else ""
    drift = f": {_difference(result.drift)}" if result.drift is not None else ""
    return f"{word}{drift}{kept}{_repaired(result)}; dpkg: {_truth(bed)}"


async def _planned(situation: Situation, manager: AptManager) -> Plan:
    if not situation.names:
        return await manager.plan([], situation.mode)
    inventory = await manager.scan(refresh=False)
    return await manager.plan(
        [
            PackageRef(name=item.name, arch=item.arch, version=item.candidate)
            for item in inventory.updates
            if item.name in situation.names
        ]
    )


async def _refused(work: Awaitable[T]) -> T | str:
    try:
        return await work
    except PackageManagerError as error:
        if not error.detail:
            raise AssertionError(f"{error.code} says nothing to people") from error
        if isinstance(error, LockHeldError) and not re.fullmatch(r"process \d+ \(\S+\)", error.holder):
            raise AssertionError(f"the holder is not named: {error}") from error
        return f"refused: {error.code}"


def _check_unchanged(before: dict[str, str], bed: AptBed) -> None:
    if bed.everything() != before:
        raise AssertionError(f"dpkg said {before} before and says {bed.everything()}")


def _check_items(result: InstallResult, bed: AptBed) -> None:
    """What the result says of each package is what dpkg says of it."""
    there = bed.everything()
    for item in result.items:
        version, _, broken = there.get(item.name, "").partition(" ")
        if (item.new or "") != version or (item.ok and broken):
            raise AssertionError(f"the result says {item}, dpkg says {there.get(item.name)}")


def _no_step(_step: str) -> None:
    pass


def _row(item: UpdateItem) -> str:
    words = [f"{item.name} {item.candidate} {item.state}"]
    if item.phased_percent is not None:
        words.append(f"{item.phased_percent} %")
    if item.security:
        words.append("security")
    if item.trusted:
        words.append("signature verified")
    return ", ".join(words)


def _codes(inventory: Inventory) -> list[str]:
    return [f"told: {code}" for code in dict.fromkeys(one.partition(":")[0] for one in inventory.problems)]


def _items(plan: Plan) -> str:
    return "; ".join(
        f"{item.name} {item.old or 'new'} to {item.new or 'nothing'}" for item in plan.items
    ) or ("nothing to do")


def _difference(drift: PlanDrift) -> str:
    parts = {"missing": drift.missing, "extra": drift.extra, "changed": drift.changed}
    return ", ".join(
        f"{word} {' '.join(f'{item.name} {item.new}' for item in items)}"
        for word, items in parts.items()
        if items
    )


def _repaired(result: InstallResult) -> str:
    return f", repaired ({result.repaired})" if result.repaired is not None else ""


def _truth(bed: AptBed) -> str:
    return ", ".join(f"{name} {state}" for name, state in sorted(bed.everything().items()))


def markdown(rows: dict[str, dict[str, str]]) -> str:
    """The table of all cells."""
    lines = [f"| situation | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells[one] for one in COLUMNS)} |" for name, cells in rows.items()]
    return "\n".join(lines)


async def _main() -> None:
    from tests.support.apt_situations import SITUATIONS  # noqa: PLC0415 - it is made of what stands here

    rows: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="redflag-apt-") as place:
        for number, situation in enumerate(SITUATIONS):
            bed = situation.make(Path(place) / str(number))
            rows[situation.name] = {column: await cell(situation, bed, column) for column in COLUMNS}
    sys.stdout.write(markdown(rows) + "\n")


if __name__ == "__main__":
    asyncio.run(_main())
