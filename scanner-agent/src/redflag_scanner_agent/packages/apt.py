"""The package manager of Debian, Ubuntu and their kin.

Guarantees, each kept in the module that is named: names and versions reach apt only after being checked against
this host's own fresh inventory (`apt_names`, `apt_plan`); an installation does exactly its plan or says what
would have been different (`apt_install`); dpkg's database, not apt's exit code, says what happened
(`apt_verdict`); no program inherits anything or runs without an end (`apt_run`, `process`).
"""

import os
from collections.abc import Callable
from pathlib import Path

from redflag_scanner_agent.packages import apt_download_size, apt_install, apt_scan
from redflag_scanner_agent.packages.apt_lock import lock_holder, wait_unlocked
from redflag_scanner_agent.packages.apt_plan import make_plan
from redflag_scanner_agent.packages.apt_run import LOCK_WAIT_S, PROGRAMS, AptRunner
from redflag_scanner_agent.packages.apt_survey import MANAGER
from redflag_scanner_agent.packages.apt_verdict import judge
from redflag_scanner_agent.packages.errors import InstallRefusedError, PackageManagerError
from redflag_scanner_agent.packages.run_lock import earlier_run, held_error, wait_for_earlier_run
from redflag_wire.clock import Clock, SystemClock
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import InstallResult, Inventory, ManagerCapability, Plan

PROBE_WAIT_S = 120.0  # seconds a probe waits for a package manager that is still at work


class AptManager:
    """apt on this host, or on the private root that an APT_CONFIG file describes.

    Args:
        apt_config: an APT_CONFIG file, or None for the host itself.
        work_dir: a directory of this manager's own for the output of installations and the time of refreshes.
        can_install: whether installing is wanted at all; the rights for it are checked here besides.
        clock: host time for inventories.
        effective_user: this process's user id; 0 may change the host.
        install_timeout_s: seconds one installation may take.
        lock_wait_s: whole seconds an installation waits for another program to let go of dpkg's lock.
        services: looks which services need a restart after an installation; None for not looking. It looks at this
            machine, so none belongs to a private root.
        probe_wait_s: seconds a probe waits for an earlier run of this agent that is still at work, then for any
            other package manager; an installation waits as long for an earlier run.
    """

    def __init__(
        self,
        *,
        apt_config: Path | None,
        work_dir: Path,
        can_install: bool,
        clock: Clock | None = None,
        effective_user: int | None = None,
        services: apt_install.Services | None = None,
        install_timeout_s: float = apt_install.INSTALL_TIMEOUT_S,
        lock_wait_s: int = LOCK_WAIT_S,
        probe_wait_s: float = PROBE_WAIT_S,
    ) -> None:
        self._work_dir = work_dir
        self._runner = AptRunner(apt_config=apt_config, work_dir=work_dir, lock_wait_s=lock_wait_s)
        self._clock = clock if clock is not None else SystemClock()
        user = effective_user if effective_user is not None else os.geteuid()
        # A private root belongs to whoever made it; the host's own belongs to root.
        self._has_rights = user == 0 or apt_config is not None
        self._wanted = can_install
        self._services = services
        self._install_timeout_s = install_timeout_s
        self._probe_wait_s = probe_wait_s

    @property
    def name(self) -> str:
        """`apt`."""
        return MANAGER

    @staticmethod
    def present() -> bool:
        """Whether all of apt's and dpkg's programs are on this host."""
        return all(os.access(program, os.X_OK) for program in PROGRAMS)

    def capabilities(self) -> ManagerCapability:
        """Whether apt can install here, and why not if it cannot."""
        reason: str | None = None
        if not self._wanted:
            reason = "installing is switched off on this host"
        elif not self._has_rights:
            reason = "the helper does not run as root"
        return ManagerCapability(manager=MANAGER, can_install=reason is None, reason=reason)

    async def scan(self, *, refresh: bool) -> Inventory:
        """Everything a full upgrade would change, and what is held, kept back or phased.

        Raises:
            PackageManagerError: apt or dpkg cannot be asked at all.
        """
        return await apt_scan.scan(
            self._runner,
            clock=self._clock,
            work_dir=self._work_dir,
            refresh=refresh,
            may_refresh=self._has_rights,
        )

    async def plan(self, request: list[PackageRef], mode: PlanMode = PlanMode.PACKAGES) -> Plan:
        """The exact changes of a request in a mode (`apt_plan`); changes nothing.

        Raises:
            NameRefusedError, NotAvailableError, HeldError, PinnedError: an entry is not in the fresh inventory, or
                the older version to return to is not to be had any more.
            UnresolvableError: apt finds no consistent way.
            PackageManagerError: apt or dpkg cannot be asked.
        """
        return await make_plan(self._runner, request, mode)

    async def download_bytes(self, plan: Plan) -> int | None:
        """How much would be fetched to carry out a plan; None when that cannot be told."""
        return await apt_download_size.download_bytes(self._runner, plan)

    async def install(
        self, plan: Plan, on_step: Callable[[str], None], *, repair: bool = False
    ) -> InstallResult:
        """Carry out exactly this plan, or nothing when the host would now do something else (`drift`).

        Raises:
            InstallRefusedError: this manager may only look, or the plan is another manager's.
            DatabaseInterruptedError: dpkg was cut off, and `repair` is false or did not help.
            LockHeldError: another program, or an earlier run of this agent, is at work; nothing was changed.
            MirrorUnreachableError, UntrustedSourceError: nothing was changed.
            PackageManagerError: apt or dpkg cannot be asked.
        """
        capability = self.capabilities()
        if not capability.can_install:
            raise InstallRefusedError(capability.reason or "")
        self._check_own(plan)
        # Before planning again: what an unfinished run is about to change would only look like drift.
        earlier = await wait_for_earlier_run(self._work_dir, limit_s=self._probe_wait_s)
        if earlier is not None:
            raise held_error(earlier)
        return await apt_install.install(
            self._runner,
            plan,
            on_step,
            repair=repair,
            services=self._services,
            timeout_s=self._install_timeout_s,
        )

    async def at_work(self) -> str | None:
        """The program that holds dpkg's lock, or an earlier run of this agent; None for none.

        Raises:
            PackageManagerError: apt cannot be asked where dpkg's database is.
        """
        root = await self._runner.root()
        return lock_holder(root.admin_directory) or earlier_run(self._work_dir)

    async def probe(self, plan: Plan) -> Outcome:
        """How far a plan got: succeeded, partial, failed (not begun), or unknown when nobody can tell yet.

        Raises:
            InstallRefusedError: the plan is another manager's.
        """
        self._check_own(plan)
        try:
            root = await self._runner.root()
            # A run of a helper that died may wait for dpkg's lock itself, and install when it gets it.
            if await wait_for_earlier_run(self._work_dir, limit_s=self._probe_wait_s) is not None:
                return Outcome.UNKNOWN
            if await wait_unlocked(root.admin_directory, limit_s=self._probe_wait_s) is not None:
                return Outcome.UNKNOWN
            return judge(plan, await self._runner.dpkg_states())
        except PackageManagerError:
            # The answer to "what happened" is then: it cannot be told; the helper reports that as such.
            return Outcome.UNKNOWN

    def _check_own(self, plan: Plan) -> None:
        if plan.manager != MANAGER:
            raise InstallRefusedError(f"a plan of {plan.manager} was given to {MANAGER}")
