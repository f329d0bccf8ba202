"""A package manager that keeps its world in memory and its effects in a file, and breaks where a test wants it to.

It shares the interface of the real ones (packages/base.py). The effect log is append-only and one line an effect, so
that a test can count what really happened over any number of processes.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from redflag_scanner_agent.packages.errors import NotAvailableError, PackageManagerError
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import (
    InstalledItem,
    InstallResult,
    Inventory,
    ManagerCapability,
    Plan,
    PlanItem,
    UpdateItem,
)


@dataclass
class FakeManager:
    """A manager named `fake`.

    Attributes:
        installed: version of each package in place.
        candidates: version of each package offered.
        effects: the effect log, None for none.
        fail_with: raised by the next call of any method.
        archive: older versions a rollback can return to.
        gate: when set, `install` waits for it after it has begun.
        simulate_gate: the same before it has begun to act.
        scan_gate, plan_gate, probe_gate: the same for a scan, a plan and a probe.
        busy: the program that changes packages now.
        crash: called in the middle of an installation, after the effect is written.
    """

    installed: dict[str, str] = field(default_factory=lambda: {"hello": "1.0", "world": "2.0"})
    candidates: dict[str, str] = field(default_factory=lambda: {"hello": "1.1", "world": "2.1"})
    effects: Path | None = None
    name: str = "fake"
    can_install: bool = True
    fail_with: PackageManagerError | None = None
    archive: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    simulate_gate: asyncio.Event | None = None
    scan_gate: asyncio.Event | None = None
    plan_gate: asyncio.Event | None = None
    probe_gate: asyncio.Event | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)
    crash: Callable[[], None] | None = None
    scans: int = 0
    installs: int = 0
    probes: int = 0
    probe_answer: Outcome | None = None
    busy: str | None = None

    def capabilities(self) -> ManagerCapability:
        return ManagerCapability(manager=self.name, can_install=self.can_install, reason=None)

    async def scan(self, *, refresh: bool) -> Inventory:
        self.scans += 1
        self._maybe_fail()
        if self.scan_gate is not None:
            self.began.set()
            await self.scan_gate.wait()
        return Inventory(
            manager=self.name,
            scanned_at=datetime.now(UTC),
            source_age_s=0 if refresh else None,
            reboot_required=False,
            updates=[
                UpdateItem(
                    manager=self.name,
                    name=name,
                    arch="all",
                    installed=self.installed.get(name),
                    candidate=candidate,
                    origin="fake",
                    suite="stable",
                    security=False,
                    state="available",
                )
                for name, candidate in sorted(self.candidates.items())
                if self.installed.get(name) != candidate
            ],
        )

    async def plan(self, request: list[PackageRef], mode: PlanMode = PlanMode.PACKAGES) -> Plan:
        self._maybe_fail()
        if self.plan_gate is not None:
            self.began.set()
            await self.plan_gate.wait()
        offered = self.archive if mode is PlanMode.ROLLBACK else self.candidates
        wanted = {one.name: one.version for one in request}
        if mode in (PlanMode.SECURITY, PlanMode.FULL):
            wanted = {name: new for name, new in offered.items() if self.installed.get(name) != new}
        items = []
        for name, version in wanted.items():
            if offered.get(name) != version:
                raise NotAvailableError(f"{name} {version} is not offered")
            action: Literal["install", "upgrade", "downgrade"] = (
                "upgrade" if name in self.installed else "install"
            )
            items.append(
                PlanItem(
                    name=name,
                    arch="all",
                    old=self.installed.get(name),
                    new=version,
                    origin="fake",
                    action="downgrade" if mode is PlanMode.ROLLBACK else action,
                )
            )
        return Plan(manager=self.name, mode=mode, request=request, items=items)

    async def download_bytes(self, plan: Plan) -> int | None:
        return 1_000 * len(plan.items)

    async def install(
        self, plan: Plan, on_step: Callable[[str], None], *, repair: bool = False
    ) -> InstallResult:
        self._maybe_fail()
        on_step("simulate")
        if self.simulate_gate is not None:
            self.began.set()
            await self.simulate_gate.wait()
        on_step("install")
        self.installs += 1
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        for item in plan.items:
            self._effect(item)
            if self.crash is not None:
                self.crash()
        return InstallResult(
            manager=self.name,
            items=[
                InstalledItem(name=item.name, arch=item.arch, old=item.old, new=item.new, ok=True)
                for item in plan.items
            ],
            exit_code=0,
            stdout="done\n",
            stderr="",
            duration_ms=1,
        )

    async def at_work(self) -> str | None:
        self._maybe_fail()
        return self.busy

    async def probe(self, plan: Plan) -> Outcome:
        self.probes += 1
        if self.probe_gate is not None:
            self.began.set()
            await self.probe_gate.wait()
        self._maybe_fail()
        if self.probe_answer is not None:
            return self.probe_answer
        done = [item for item in plan.items if self.installed.get(item.name) == item.new]
        if len(done) == len(plan.items):
            return Outcome.SUCCEEDED
        return Outcome.PARTIAL if done else Outcome.FAILED

    def _maybe_fail(self) -> None:
        if self.fail_with is not None:
            error, self.fail_with = self.fail_with, None
            raise error

    def _effect(self, item: PlanItem) -> None:
        assert item.new is not None
        self.installed[item.name] = item.new
        if self.effects is not None:
            with self.effects.open("a") as log:
                log.write(json.dumps({"package": item.name, "version": item.new}) + "\n")
