"""What each kind of command does on the host, through the package managers and the collectors of its figures.

An action returns an `Ending`: the outcome, the body of the final report and what else is to be kept. What a package
manager refuses is an ending too; nothing here raises for it. Names reach a manager only through its own check
against its fresh inventory (`packages.base`). Restarts, cancels and fast mode are the executor's own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from redflag_ops.logging import get_logger
from redflag_scanner_agent.control import Control
from redflag_scanner_agent.errors import HostFactsError
from redflag_scanner_agent.figures import Figures
from redflag_scanner_agent.host_policy import HostPolicy
from redflag_scanner_agent.packages.base import PackageManager, difference, outcome_of
from redflag_scanner_agent.packages.errors import (
    CancelledByOperatorError,
    DatabaseInterruptedError,
    PackageManagerError,
)
from redflag_scanner_agent.receipts import line
from redflag_wire.base64_strict import encode
from redflag_wire.command import Command
from redflag_wire.command_params import (
    CommandKind,
    DryRunUpdateParams,
    InstallUpdatesParams,
    PackageRef,
    PlanMode,
    RollbackUpdateParams,
    ScanParams,
)
from redflag_wire.errors import WireError
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import (
    Facts,
    HostEvent,
    InstallResult,
    Inventory,
    InventoryChanges,
    Plan,
    PlanResult,
    Storage,
    System,
)

SCAN_DEADLINE_S = 1_800.0  # seconds; refreshing lists over a slow line included
PLAN_DEADLINE_S = 900.0
INSTALL_DEADLINE_S = 6 * 3_600.0
COLLECT_DEADLINE_S = 300.0
REBOOT_REQUIRED = Path("/run/reboot-required")
SYSTEM, STORAGE, ALL = "system", "storage", "all"  # subsystems beside the package managers
CHANGING_PACKAGES = frozenset({CommandKind.INSTALL_UPDATES, CommandKind.ROLLBACK_UPDATE})

log = get_logger()

Body = Inventory | InventoryChanges | PlanResult | InstallResult | Facts | System | Storage | HostEvent


@dataclass(frozen=True, slots=True)
class Ending:
    """How an action ended.

    Attributes:
        outcome: the result of the work.
        code: why, for anything but success.
        body: of the final report, None for none.
        plan: a plan this host made and must remember, None for none.
        plan_digest: of the plan made or carried out.
        more: bodies beside the one in `body`.
        full: whether inventories are sent whole, whatever the server has confirmed.
        looked: the subsystems looked at, with the reason where the look failed.
        faults: the same reasons in words.
    """

    outcome: Outcome
    code: str | None = None
    body: Body | None = None
    plan: Plan | None = None
    plan_digest: str | None = None
    more: list[Body] = field(default_factory=list)
    full: bool = False
    looked: dict[str, str | None] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Look:
    """What was seen of a host.

    Attributes:
        bodies: inventories first, then system and storage.
        faults: why a subsystem could not be looked at, by its name.
        looked: every subsystem, with the code of its fault.
    """

    bodies: list[Body] = field(default_factory=list)
    faults: dict[str, PackageManagerError] = field(default_factory=dict)
    looked: dict[str, str | None] = field(default_factory=dict)


def failed(code: str, detail: str, outcome: Outcome = Outcome.FAILED) -> Ending:
    """Return an ending without success; the detail travels as an event body."""
    event = HostEvent(code=code, severity="error", component="helper", message=line(detail))
    return Ending(outcome, code, event)


def reboot_required() -> bool:
    """Whether the host itself waits for a restart."""
    return REBOOT_REQUIRED.exists()


class Actions:
    """The kinds this agent knows.

    Args:
        managers: the package managers of this host, by name.
        stored_plan: returns the bytes of a plan this host made, by digest.
        policy: reads the host's own word; asked about every package that a plan would touch.
        figures: looks at the host itself.
        needs_reboot: whether the host waits for a restart.
    """

    def __init__(
        self,
        managers: Mapping[str, PackageManager],
        stored_plan: Callable[[str], bytes | None],
        policy: Callable[[], HostPolicy],
        figures: Figures,
        needs_reboot: Callable[[], bool] = reboot_required,
    ) -> None:
        self._managers = managers
        self._stored_plan = stored_plan
        self._policy = policy
        self._figures = figures
        self._needs_reboot = needs_reboot
        self._one = asyncio.Lock()  # two runs of one package manager would wait for each other's locks

    async def act(self, command: Command, control: Control) -> Ending:
        """Do what a command says; takes as long as its package manager.

        Args:
            command: of a kind that acts through here.
            control: told each step, and asked whether to stop.
        """
        async with self._one:
            return await self._act(command, control)

    async def _act(self, command: Command, control: Control) -> Ending:
        try:
            params = command.typed_params
            if isinstance(params, ScanParams):
                return await self._within(SCAN_DEADLINE_S, command, self._scan(params))
            if isinstance(params, InstallUpdatesParams | RollbackUpdateParams):
                return await self._within(INSTALL_DEADLINE_S, command, self._install(params, control))
            if isinstance(params, DryRunUpdateParams):
                return await self._within(PLAN_DEADLINE_S, command, self._dry_run(params))
            if command.kind is CommandKind.COLLECT_SPECS:
                return await self._within(COLLECT_DEADLINE_S, command, self._collect())
        except CancelledByOperatorError:
            return Ending(Outcome.CANCELLED, "cancelled")
        except PackageManagerError as error:
            return failed(error.code, error.detail)
        except WireError as error:
            # A manager gave what does not fit the wire, for example a plan with more items than any real one.
            return failed("manager_answer", str(error))
        return failed("kind_unsupported", f"this agent does not know how to {command.kind}", Outcome.REJECTED)

    async def probe(self, command: Command) -> Ending:
        """Say how far a command got whose process died while it acted; never does it again."""
        if command.kind not in CHANGING_PACKAGES:
            # It changed nothing, so nothing is half done: the server may simply ask again.
            return failed("interrupted", "the agent was stopped while it looked")
        try:
            params = command.typed_params
            plan = (
                self._plan(params.plan_digest)
                if isinstance(params, InstallUpdatesParams | RollbackUpdateParams)
                else None
            )
        except WireError as error:
            return failed("plan_unreadable", str(error), Outcome.UNKNOWN)
        manager = None if plan is None else self._managers.get(plan.manager)
        if plan is None or manager is None:
            return failed("plan_unknown", "the plan or its package manager is gone", Outcome.UNKNOWN)
        try:
            async with asyncio.timeout(PLAN_DEADLINE_S):
                outcome = await manager.probe(plan)
        except (PackageManagerError, TimeoutError) as error:
            return failed("probe_failed", str(error), Outcome.UNKNOWN)
        event = HostEvent(
            code="probed",
            severity="warning",
            component="helper",
            message="the result was found by looking at the host",
        )
        return Ending(outcome, "probed", event, plan_digest=plan.digest)

    async def at_work(self) -> str | None:
        """Return which program changes packages on this host now, whoever started it; None for none."""
        for name in sorted(self._managers):
            try:
                holder = await self._managers[name].at_work()
            except PackageManagerError as error:
                # A package manager that cannot be asked must not keep its host from being restarted.
                log.warning("packages.at_work_unknown", manager=name, code=error.code, detail=error.detail)
                continue
            if holder is not None:
                return f"{name}: {holder}"
        return None

    async def look(self, *, refresh: bool) -> Look:
        """Look at everything; what could not be looked at is among the faults."""
        async with self._one:
            return await self._look(refresh=refresh)

    async def _look(self, *, refresh: bool) -> Look:
        seen = Look()
        for name in sorted(self._managers):
            try:
                seen.bodies.append(await self._managers[name].scan(refresh=refresh))
                seen.looked[name] = None
            except PackageManagerError as error:
                seen.faults[name] = error
                seen.looked[name] = error.code
        seen.bodies.append(await self._figures.system())
        seen.bodies.append(await self._figures.storage())
        seen.looked |= {SYSTEM: None, STORAGE: None}
        return seen

    async def _within(
        self, limit_s: float, command: Command, work: Coroutine[object, object, Ending]
    ) -> Ending:
        most = command.pol.max_runtime
        try:
            async with asyncio.timeout(limit_s if most is None else min(limit_s, float(most))):
                return await work
        except TimeoutError:
            if command.kind not in CHANGING_PACKAGES:
                return failed("max_runtime", "it took longer than it may")
        # The package manager is not killed in the middle of its work: look at what is true instead.
        return await self.probe(command)

    async def _scan(self, params: ScanParams) -> Ending:
        if params.subsystem == ALL:
            return _ending_of(await self._look(refresh=params.refresh), full=params.full)
        looked: dict[str, str | None] = {params.subsystem: None}
        if params.subsystem == SYSTEM:
            return Ending(Outcome.SUCCEEDED, body=await self._figures.system(), looked=looked)
        if params.subsystem == STORAGE:
            return Ending(Outcome.SUCCEEDED, body=await self._figures.storage(), looked=looked)
        manager = self._manager(params.subsystem)
        try:
            inventory = await manager.scan(refresh=params.refresh)
        except PackageManagerError as error:
            ending = failed(error.code, error.detail)
            return replace(ending, looked={manager.name: error.code}, faults={manager.name: error.detail})
        return Ending(Outcome.SUCCEEDED, body=inventory, full=params.full, looked=looked)

    async def _collect(self) -> Ending:
        try:
            found = self._figures.facts(
                [self._managers[name].capabilities() for name in sorted(self._managers)]
            )
        except HostFactsError as error:
            return failed(error.code, error.detail)
        system, storage = await self._figures.system(), await self._figures.storage()
        return Ending(
            Outcome.SUCCEEDED, body=system, more=[found, storage], looked={SYSTEM: None, STORAGE: None}
        )

    async def _plan_now(
        self, manager: PackageManager, request: list[PackageRef], mode: PlanMode, *, repair: bool
    ) -> Plan | None:
        """Plan again; None when that must wait for the repair which this host's policy allows."""
        try:
            return await manager.plan(request, mode)
        except DatabaseInterruptedError:
            if not repair:
                raise
            return None

    async def _dry_run(self, params: DryRunUpdateParams) -> Ending:
        manager = self._manager(params.manager)
        plan = await manager.plan(list(params.packages), params.mode)
        refused = self._refused(plan)
        if refused is not None:
            return refused
        size = await manager.download_bytes(plan)
        body = PlanResult(plan_b64=encode(plan.to_bytes()), download_bytes=size)
        return Ending(Outcome.SUCCEEDED, body=body, plan=plan, plan_digest=plan.digest)

    async def _install(self, params: InstallUpdatesParams | RollbackUpdateParams, control: Control) -> Ending:
        manager = self._manager(params.manager)
        mode = PlanMode.ROLLBACK if isinstance(params, RollbackUpdateParams) else params.mode
        approved = self._plan(params.plan_digest)
        if approved is None or approved.manager != params.manager or approved.mode is not mode:
            return failed(
                "plan_unknown", "this host did not make such a plan of that digest, or it is too old"
            )
        repair = self._policy().repair_interrupted
        now = await self._plan_now(manager, list(params.packages), mode, repair=repair)
        if now is None:
            now = approved  # cannot be told before the repair, after which the manager itself compares
        if now.digest != params.plan_digest:
            result = InstallResult(
                manager=manager.name,
                items=[],
                exit_code=None,
                stdout="",
                stderr="",
                duration_ms=0,
                drift=difference(approved, now),
            )
            return Ending(Outcome.PLAN_DRIFT, "plan_drift", result, plan_digest=params.plan_digest)
        refused = self._refused(now)
        if refused is not None:
            return refused
        waited = self._needs_reboot()
        result = await manager.install(approved, control.step, repair=repair)
        outcome = outcome_of(result)
        if outcome is Outcome.SUCCEEDED and self._needs_reboot() and not waited:
            outcome = Outcome.SUCCEEDED_PENDING_REBOOT
        code = {
            Outcome.PLAN_DRIFT: "plan_drift",
            Outcome.PARTIAL: "partial",
            Outcome.FAILED: "install_failed",
        }
        return Ending(outcome, code.get(outcome), result, plan_digest=approved.digest)

    def _refused(self, plan: Plan) -> Ending | None:
        """Hold the whole plan against the host's policy: the ladder saw only what was asked for by name."""
        policy = self._policy()
        if policy.fault is not None:
            return failed("policy_unreadable", policy.fault, Outcome.REJECTED)
        name = policy.first_refused(item.name for item in plan.items)
        if name is None:
            return None
        detail = f"the plan touches {name}, which this host's policy does not allow"
        return failed("package_policy", detail, Outcome.REJECTED)

    def _manager(self, name: str) -> PackageManager:
        manager = self._managers.get(name)
        if manager is None:
            raise PackageManagerError(f"this host has no package manager {name}", code="manager_unknown")
        return manager

    def _plan(self, digest: str) -> Plan | None:
        stored = self._stored_plan(digest)
        return None if stored is None else Plan.from_bytes(stored)


def _ending_of(seen: Look, *, full: bool) -> Ending:
    """Return how a look at everything ended: what was seen is sent, and what was not is named."""
    faults = {name: error.detail for name, error in seen.faults.items()}
    if not seen.looked.keys() - {SYSTEM, STORAGE}:
        ending = failed("no_manager", "no package manager of this host is known to the agent")
        return replace(ending, more=seen.bodies, looked=seen.looked)
    fault = next(iter(seen.faults.values()), None)
    if fault is not None and not any(isinstance(body, Inventory) for body in seen.bodies):
        ending = failed(fault.code, fault.detail)
        return replace(ending, more=seen.bodies, looked=seen.looked, faults=faults)
    outcome, code = (Outcome.SUCCEEDED, None) if fault is None else (Outcome.PARTIAL, "scan_partial")
    return Ending(
        outcome,
        code,
        seen.bodies[0],
        more=seen.bodies[1:],
        full=full,
        looked=seen.looked,
        faults=faults,
    )
