"""Carrying out a plan with apt: simulate again, act on exactly the plan's items, and let dpkg judge.

The ladder of an installation:
1. The request is planned afresh. Any difference from the given plan ends it with `drift`, before any change.
2. apt-get gets every item of the plan with its exact version, and may remove only when the plan lists removals.
3. Configuration files that were changed on the host stay as they are, and are named.
4. Packages that were installed automatically stay marked so: naming a package makes apt forget that.
5. dpkg's database says what became of each item.
"""

import re
from collections.abc import Callable, Sequence

from redflag_scanner_agent.packages.apt_lock import lock_holder
from redflag_scanner_agent.packages.apt_names import pinned, removed
from redflag_scanner_agent.packages.apt_parse import error_lines, is_lock, is_unreachable, named_holder
from redflag_scanner_agent.packages.apt_plan import current_request, make_plan, plan_within
from redflag_scanner_agent.packages.apt_run import NAMES_PER_CALL, AptRunner
from redflag_scanner_agent.packages.apt_survey import MANAGER, survey
from redflag_scanner_agent.packages.apt_verdict import installed_items, is_untouched, shortfalls
from redflag_scanner_agent.packages.base import difference
from redflag_scanner_agent.packages.errors import (
    HeldError,
    LockHeldError,
    MirrorUnreachableError,
    NotAvailableError,
    PackageManagerError,
    UnresolvableError,
)
from redflag_scanner_agent.packages.output import fitted, one_line
from redflag_scanner_agent.packages.process import Finished
from redflag_wire.report_bodies import InstallResult, Plan, PlanDrift

INSTALL_TIMEOUT_S = 7200.0  # seconds for one installation, downloads included
CONFFILES_MAX = 100  # configuration files named in one result
NOTES_MAX = 100  # packages of which dpkg's state is told in words
_CONFFILE = re.compile(
    r"^Configuration file '([^'\n]+)'[^\n]*\n(?: ==> [^\n]*\n)*? ==> (?:Keeping old|Using current old) ",
    re.MULTILINE,
)


async def install(
    runner: AptRunner,
    plan: Plan,
    on_step: Callable[[str], None],
    *,
    timeout_s: float = INSTALL_TIMEOUT_S,
) -> InstallResult:
    """Carry out `plan`.

    Raises:
        LockHeldError: another package manager was at work all the time; nothing was changed.
        MirrorUnreachableError: a download failed; nothing was changed.
        PackageManagerError: apt or dpkg cannot be asked.
    """
    on_step("simulate")
    drift = await find_drift(runner, plan)
    if drift is not None:
        return _not_started(drift)
    root = await runner.root()
    automatic = await _automatic(runner, plan)
    on_step("install")
    finished = await runner.install(*arguments(plan), timeout_s=timeout_s)
    on_step("verify")
    states = await runner.dpkg_states()
    there = {state.name for state in states.present()}
    if finished.exit_code != 0 and all(is_untouched(item, states) for item in plan.items):
        _raise_outside_reason(finished, lock_holder(root.admin_directory))
    notes = shortfalls(plan, states)[:NOTES_MAX]
    if finished.timed_out:
        notes.insert(0, f"apt-get ran longer than {timeout_s:g} s and was ended")
    notes += await _mark_automatic(runner, [name for name in automatic if name.partition(":")[0] in there])
    return InstallResult(
        manager=MANAGER,
        items=installed_items(plan, states),
        exit_code=finished.exit_code,
        stdout=finished.stdout,
        stderr=fitted("".join([finished.stderr, *(f"redflag: {note}\n" for note in notes)])),
        duration_ms=finished.duration_ms,
        drift=None,
        conffiles_kept=conffiles_kept(finished.stderr + finished.stdout),
    )


async def find_drift(runner: AptRunner, plan: Plan) -> PlanDrift | None:
    """Plan the same request again and compare; None when the host would still do exactly this plan."""
    try:
        return difference(plan, await make_plan(runner, plan.request))
    except (NotAvailableError, HeldError, UnresolvableError):
        # The requested version is gone, held by now, or no longer possible: say what would happen instead.
        found = await survey(runner)
        request = current_request(plan.request, found)
        try:
            instead = await plan_within(runner, request, found)
        except (NotAvailableError, HeldError, UnresolvableError):
            instead = plan.model_copy(update={"items": []})
        # Equal only when the host changed back between the two looks; then too, this plan was not confirmed.
        return difference(plan, instead) or PlanDrift(missing=[], extra=[], changed=list(plan.items))


def arguments(plan: Plan) -> list[str]:
    """apt-get's arguments for a plan.

    Raises:
        NameRefusedError: an item is not written like a package; nothing has been started then.
    """
    removals = [item for item in plan.items if item.new is None]
    options = [] if removals else ["--no-remove"]
    if any(item.action == "downgrade" for item in plan.items):
        options.append("--allow-downgrades")
    named = [pinned(item.name, item.arch, item.new) for item in plan.items if item.new is not None]
    return ["install", *options, "--", *named, *(removed(item.name, item.arch) for item in removals)]


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


def _raise_outside_reason(finished: Finished, holder: str | None) -> None:
    reason = error_lines(finished.stderr)
    if is_lock(finished.stderr):
        named = named_holder(finished.stderr + finished.stdout) or holder or "unknown"
        raise LockHeldError(f"{reason} (held by {named})", holder=named)
    if is_unreachable(finished.stderr):
        raise MirrorUnreachableError(reason)


def _not_started(drift: PlanDrift) -> InstallResult:
    return InstallResult(
        manager=MANAGER,
        items=[],
        exit_code=None,
        stdout="",
        stderr="",
        duration_ms=0,
        drift=drift,
        conffiles_kept=[],
    )
