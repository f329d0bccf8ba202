"""What each kind of command does on the host, through the package managers.

An action returns an `Ending`: the outcome, the body of the final report and what else is to be kept. What a package
manager refuses is an ending too; nothing here raises for it. Names reach a manager only through its own check
against its fresh inventory (`packages.base`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redflag_scanner_agent.host_policy import HostPolicy
from redflag_scanner_agent.packages.base import PackageManager, difference, outcome_of
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.receipts import line
from redflag_wire.base64_strict import encode
from redflag_wire.command import Command
from redflag_wire.command_params import (
    CommandKind,
    DryRunUpdateParams,
    InstallUpdatesParams,
    ScanParams,
)
from redflag_wire.errors import WireError
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import HostEvent, InstallResult, Inventory, Plan, PlanResult

SCAN_DEADLINE_S = 1_800.0  # seconds; refreshing lists over a slow line included
PLAN_DEADLINE_S = 900.0
INSTALL_DEADLINE_S = 6 * 3_600.0
REBOOT_REQUIRED = Path("/run/reboot-required")

Body = Inventory | PlanResult | InstallResult | HostEvent


@dataclass(frozen=True, slots=True)
class Ending:
    """How an action ended.

    Attributes:
        outcome: the result of the work.
        code: why, for anything but success.
        body: of the final report, None for none.
        plan: a plan this host made and must remember, None for none.
        plan_digest: of the plan made or carried out.
        more: inventories beside the one in `body`.
    """

    outcome: Outcome
    code: str | None = None
    body: Body | None = None
    plan: Plan | None = None
    plan_digest: str | None = None
    more: list[Inventory] = field(default_factory=list)


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
        on_step: told each step of an installation.
        needs_reboot: whether the host waits for a restart.
    """

    def __init__(
        self,
        managers: Mapping[str, PackageManager],
        stored_plan: Callable[[str], bytes | None],
        policy: Callable[[], HostPolicy],
        on_step: Callable[[str], None] = lambda _step: None,
        needs_reboot: Callable[[], bool] = reboot_required,
    ) -> None:
        self._managers = managers
        self._stored_plan = stored_plan
        self._policy = policy
        self._on_step = on_step
        self._needs_reboot = needs_reboot
        self._one = asyncio.Lock()  # two runs of one package manager would wait for each other's locks

    async def act(self, command: Command) -> Ending:
        """Do what a command says; takes as long as its package manager."""
        async with self._one:
            return await self._act(command)

    async def _act(self, command: Command) -> Ending:
        try:
            params = command.typed_params
            if isinstance(params, ScanParams):
                return await self._within(SCAN_DEADLINE_S, command, self._scan(params))
            if isinstance(params, InstallUpdatesParams):
                return await self._within(INSTALL_DEADLINE_S, command, self._install(params))
            if isinstance(params, DryRunUpdateParams):
                return await self._within(PLAN_DEADLINE_S, command, self._dry_run(params))
        except PackageManagerError as error:
            return failed(error.code, error.detail)
        except WireError as error:
            # A manager gave what does not fit the wire, for example a plan with more items than any real one.
            return failed("manager_answer", str(error))
        return failed("kind_unsupported", f"this agent does not know how to {command.kind}", Outcome.REJECTED)

    async def probe(self, command: Command) -> Ending:
        """Say how far a command got whose process died while it acted; never does it again."""
        if command.kind is not CommandKind.INSTALL_UPDATES:
            # It changed nothing, so nothing is half done: the server may simply ask again.
            return failed("interrupted", "the agent was stopped while it looked")
        try:
            params = command.typed_params
            plan = self._plan(params.plan_digest) if isinstance(params, InstallUpdatesParams) else None
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

    async def inventories(self, *, refresh: bool) -> list[Inventory]:
        """Return what every manager sees; one that fails is an inventory with its problem named.

        Raises:
            PackageManagerError: none of them could look.
        """
        async with self._one:
            return await self._inventories(refresh=refresh)

    async def _inventories(self, *, refresh: bool) -> list[Inventory]:
        found: list[Inventory] = []
        fault: PackageManagerError | None = None
        for name in sorted(self._managers):
            try:
                found.append(await self._managers[name].scan(refresh=refresh))
            except PackageManagerError as error:
                fault = error
        if not found and fault is not None:
            raise fault
        return found

    async def _within(
        self, limit_s: float, command: Command, work: Coroutine[object, object, Ending]
    ) -> Ending:
        most = command.pol.max_runtime
        try:
            async with asyncio.timeout(limit_s if most is None else min(limit_s, float(most))):
                return await work
        except TimeoutError:
            if command.kind is not CommandKind.INSTALL_UPDATES:
                return failed("max_runtime", "it took longer than it may")
        # The package manager is not killed in the middle of its work: look at what is true instead.
        return await self.probe(command)

    async def _scan(self, params: ScanParams) -> Ending:
        if params.subsystem == "all":
            found = await self._inventories(refresh=params.refresh)
            if not found:
                return failed("no_manager", "no package manager of this host is known to the agent")
            return Ending(Outcome.SUCCEEDED, body=found[0], more=found[1:])
        inventory = await self._manager(params.subsystem).scan(refresh=params.refresh)
        return Ending(Outcome.SUCCEEDED, body=inventory)

    async def _dry_run(self, params: DryRunUpdateParams) -> Ending:
        plan = await self._manager(params.manager).plan(list(params.packages))
        refused = self._refused(plan)
        if refused is not None:
            return refused
        body = PlanResult(plan_b64=encode(plan.to_bytes()))
        return Ending(Outcome.SUCCEEDED, body=body, plan=plan, plan_digest=plan.digest)

    async def _install(self, params: InstallUpdatesParams) -> Ending:
        manager = self._manager(params.manager)
        approved = self._plan(params.plan_digest)
        if approved is None or approved.manager != params.manager:
            return failed("plan_unknown", "this host did not make a plan of that digest, or it is too old")
        now = await manager.plan(list(params.packages))
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
        result = await manager.install(approved, self._on_step)
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
