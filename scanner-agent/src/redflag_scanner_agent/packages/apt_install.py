"""Carrying out a plan with apt: simulate again, act on exactly the plan's items, and let dpkg judge.

The ladder of an installation:
1. A dpkg that was cut off is put in order first when that is allowed, and refused otherwise (`apt_interrupted`).
2. The request is planned afresh, and then the very arguments for apt-get are simulated. Any difference from the
   given plan ends it with `drift`, before any change.
3. apt-get fetches what is missing. Until then, and at the beginning of the next step, it can be stopped.
4. apt-get gets every item of the plan with its exact version, and may remove only when the plan lists removals.
5. Configuration files that were changed on the host stay as they are, and are named.
6. Packages that were installed automatically stay marked so: naming a package makes apt forget that.
7. dpkg's database says what became of each item.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from redflag_scanner_agent.packages import apt_interrupted
from redflag_scanner_agent.packages.apt_lock import lock_holder
from redflag_scanner_agent.packages.apt_names import pinned, removed
from redflag_scanner_agent.packages.apt_parse import (
    error_lines,
    is_interrupted,
    is_lock,
    is_unauthenticated,
    is_unreachable,
    named_holder,
)
from redflag_scanner_agent.packages.apt_plan import check_names, current_request, plan_within, simulate
from redflag_scanner_agent.packages.apt_rollback import CACHED, cached_file
from redflag_scanner_agent.packages.apt_run import NAMES_PER_CALL, AptRunner
from redflag_scanner_agent.packages.apt_scan import reboot_required
from redflag_scanner_agent.packages.apt_survey import MANAGER, Survey, survey
from redflag_scanner_agent.packages.apt_verdict import installed_items, is_untouched, shortfalls
from redflag_scanner_agent.packages.base import difference
from redflag_scanner_agent.packages.errors import (
    HeldError,
    LockHeldError,
    MirrorUnreachableError,
    NotAvailableError,
    PackageManagerError,
    ProgramFailedError,
    UnresolvableError,
    UntrustedSourceError,
)
from redflag_scanner_agent.packages.output import fitted, one_line
from redflag_scanner_agent.packages.process import Finished
from redflag_wire.command_params import PlanMode
from redflag_wire.limits import PROBLEMS_MAX
from redflag_wire.report_bodies import InstallResult, Plan, PlanDrift

INSTALL_TIMEOUT_S = 7200.0  # seconds for one installation, after its packages are fetched
CONFFILES_MAX = 100  # configuration files named in one result
NOTES_MAX = 100  # packages of which dpkg's state is told in words
_CONFFILE = re.compile(
    r"^Configuration file '([^'\n]+)'[^\n]*\n(?: ==> [^\n]*\n)*? ==> (?:Keeping old|Using current old) ",
    re.MULTILINE,
)


Services = Callable[[], Awaitable[Sequence[str]]]
"""Looks which services still run code of before; what it raises is told in the result and costs nothing else."""

Files = Mapping[tuple[str, str], Path]
"""The package file of an item that comes from apt's package cache, by name and architecture."""


async def install(
    runner: AptRunner,
    plan: Plan,
    on_step: Callable[[str], None],
    *,
    repair: bool = False,
    services: Services | None = None,
    timeout_s: float = INSTALL_TIMEOUT_S,
) -> InstallResult:
    """Carry out `plan`; what `on_step` raises goes through, and up to `install` nothing of the plan is done.

    Raises:
        DatabaseInterruptedError: dpkg was cut off, and `repair` is false or did not help.
        LockHeldError: another package manager was at work all the time; nothing was changed.
        MirrorUnreachableError, UntrustedSourceError, ProgramFailedError: nothing was changed.
        PackageManagerError: apt or dpkg cannot be asked.
    """
    root = await runner.root()
    repaired = None
    if await apt_interrupted.is_interrupted_for_sure(root.admin_directory, limit_s=runner.lock_wait_s):
        if not repair:
            raise apt_interrupted.refusal(root.admin_directory)
        on_step("repair")
        repaired = await apt_interrupted.repair(runner)
    on_step("simulate")
    drift = await find_drift(runner, plan)
    if drift is not None or not plan.items:
        return _not_started(drift, repaired, needs_reboot=reboot_required(root))
    argv = arguments(plan, await cached_files(runner, plan))
    automatic = await _automatic(runner, plan)
    on_step("download")
    fetched = await runner.download(*argv)
    if fetched.exit_code != 0:
        _raise_outside_reason(fetched, root.admin_directory)
        raise ProgramFailedError(f"nothing was changed: {error_lines(fetched.stderr)}")
    on_step("install")
    finished = await runner.install(*argv, timeout_s=timeout_s)
    on_step("verify")
    states = await runner.dpkg_states()
    there = {state.name for state in states.present()}
    if finished.exit_code != 0 and all(is_untouched(item, states) for item in plan.items):
        _raise_outside_reason(finished, root.admin_directory)
    notes = shortfalls(plan, states)[:NOTES_MAX]
    if finished.timed_out:
        notes.insert(0, f"apt-get ran longer than {timeout_s:g} s and was ended")
    notes += await _mark_automatic(runner, [name for name in automatic if name.partition(":")[0] in there])
    waiting = await _services(services, notes)
    return InstallResult(
        manager=MANAGER,
        items=installed_items(plan, states),
        exit_code=finished.exit_code,
        stdout=finished.stdout,
        stderr=fitted("".join([finished.stderr, *(f"redflag: {note}\n" for note in notes)])),
        duration_ms=finished.duration_ms + fetched.duration_ms,
        drift=None,
        conffiles_kept=conffiles_kept(finished.stderr + finished.stdout),
        reboot_required=reboot_required(root),
        services_to_restart=waiting,
        repaired=repaired,
    )


async def find_drift(runner: AptRunner, plan: Plan) -> PlanDrift | None:
    """Plan the same request again and compare; None when the host would still do exactly this plan."""
    check_names(plan.request)
    found = await survey(runner)
    try:
        drift = difference(plan, await plan_within(runner, plan.request, found, plan.mode))
    except (NotAvailableError, HeldError, UnresolvableError):
        # The requested version is gone, held by now, or no longer possible: say what would happen instead.
        instead = await _instead(runner, plan, found)
        # Equal only when the host changed back between the two looks; then too, this plan was not confirmed.
        return difference(plan, instead) or PlanDrift(missing=[], extra=[], changed=list(plan.items))
    if drift is not None or not plan.items:
        return drift
    # A plan is made from what was asked for, and carried out by its items: these must come to the same.
    try:
        exact = await simulate(runner, arguments(plan, await cached_files(runner, plan)), found)
    except (NotAvailableError, UnresolvableError):
        return PlanDrift(missing=list(plan.items), extra=[], changed=[])
    return difference(plan, plan.model_copy(update={"items": exact}))


async def _instead(runner: AptRunner, plan: Plan, found: Survey) -> Plan:
    nothing = plan.model_copy(update={"items": []})
    if plan.mode is not PlanMode.PACKAGES:
        return nothing
    try:
        return await plan_within(runner, current_request(plan.request, found), found)
    except (NotAvailableError, HeldError, UnresolvableError):
        return nothing


async def cached_files(runner: AptRunner, plan: Plan) -> dict[tuple[str, str], Path]:
    """The files of those items of a plan that come from apt's package cache, found anew on this host.

    Raises:
        NotAvailableError: one of them is gone.
    """
    files = {}
    for item in plan.items:
        if item.origin != CACHED or item.new is None:
            continue
        file = await cached_file(runner, name=item.name, version=item.new, archs=[item.arch])
        if file is None:
            raise NotAvailableError(
                f"{item.name}:{item.arch} {item.new} is not in apt's package cache any more"
            )
        files[(item.name, item.arch)] = file
    return files


def arguments(plan: Plan, files: Files) -> list[str]:
    """apt-get's arguments for a plan.

    Args:
        plan: the plan.
        files: of the items that come from apt's package cache.

    Raises:
        NameRefusedError: an item is not written like a package; nothing has been started then.
    """
    options = [] if any(item.new is None for item in plan.items) else ["--no-remove"]
    if any(item.action == "downgrade" for item in plan.items):
        options.append("--allow-downgrades")
    targets = []
    for item in plan.items:
        if item.new is None:
            targets.append(removed(item.name, item.arch))
        else:
            target = pinned(item.name, item.arch, item.new)
            file = files.get((item.name, item.arch))
            targets.append(target if file is None else str(file))
    return ["install", *options, "--", *targets]


def conffiles_kept(text: str) -> list[str]:
    """The configuration files of which dpkg says that it kept the host's own version."""
    return list(dict.fromkeys(one_line(name) for name in _CONFFILE.findall(text)))[:CONFFILES_MAX]


async def _automatic(runner: AptRunner, plan: Plan) -> list[str]:
    """Which of the plan's packages apt must go on taking for automatically installed.

    Those that are so now, and new ones beside an upgrade: nobody asked for these by themselves.
    """
    states = await runner.dpkg_states()
    shown = await runner.mark("showauto")
    known = set(shown.stdout.split())
    upgrades = any(item.action == "upgrade" for item in plan.items)
    kept = []
    for item in plan.items:
        if item.new is None:
            continue
        arch = states.package_arch(item.arch)
        printed = item.name if arch == states.native else f"{item.name}:{arch}"
        if printed in known or (item.old is None and upgrades):
            kept.append(f"{item.name}:{arch}")
    return kept


async def _mark_automatic(runner: AptRunner, names: Sequence[str]) -> list[str]:
    notes = []
    for start in range(0, len(names), NAMES_PER_CALL):
        try:
            finished = await runner.mark("auto", *names[start : start + NAMES_PER_CALL])
        except PackageManagerError as error:
            notes.append(f"not marked as automatic: {error}")
            continue
        if finished.exit_code != 0:
            notes.append(f"not marked as automatic: {error_lines(finished.stderr)}")
    return notes


async def _services(services: Services | None, notes: list[str]) -> list[str]:
    if services is None:
        return []
    try:
        found = await services()
    except Exception as error:  # noqa: BLE001 - whatever it is, the installation has already happened
        notes.append(f"which services need a restart cannot be told: {error}")
        return []
    return [one_line(name) for name in found[:PROBLEMS_MAX]]


def _raise_outside_reason(finished: Finished, admin_directory: Path) -> None:
    reason = error_lines(finished.stderr)
    if is_lock(finished.stderr):
        holder = lock_holder(admin_directory)
        named = named_holder(finished.stderr + finished.stdout) or holder or "unknown"
        raise LockHeldError(f"{reason} (held by {named})", holder=named)
    if is_interrupted(finished.stderr):
        raise apt_interrupted.refusal(admin_directory)
    if is_unauthenticated(finished.stderr):
        raise UntrustedSourceError(reason)
    if is_unreachable(finished.stderr):
        raise MirrorUnreachableError(reason)


def _not_started(drift: PlanDrift | None, repaired: str | None, *, needs_reboot: bool) -> InstallResult:
    return InstallResult(
        manager=MANAGER,
        items=[],
        exit_code=None,
        stdout="",
        stderr="",
        duration_ms=0,
        drift=drift,
        conffiles_kept=[],
        reboot_required=needs_reboot,
        repaired=repaired,
    )
