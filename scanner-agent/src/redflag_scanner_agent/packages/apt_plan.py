"""Planning with apt: which packages exactly change when a request is carried out.

Guarantees:
1. A request reaches apt only as `name:arch=version`, and only when name, architecture and version together stand
   in this host's own fresh inventory (to roll back: in its own version table or package cache, `apt_rollback`).
2. The plan holds every package of the simulated run, removals included, sorted by name and architecture; two
   plans of the same run are equal to the byte.
3. Every requested version is in the plan, or there is no plan.

Modes (docs/protocol.md 3): `packages` as named; `security` all installed packages whose update is available now
and fixes something through a security source, in the version apt would install anyway; `full` what
`apt-get dist-upgrade` does; `rollback` named packages in named, older versions. `security` and `full` may find
nothing to do: such a plan has no items.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError

from redflag_scanner_agent.packages.apt_names import check_arch, check_name, check_version, pinned
from redflag_scanner_agent.packages.apt_parse import Step, error_lines, parse_simulation
from redflag_scanner_agent.packages.apt_policy import best
from redflag_scanner_agent.packages.apt_rollback import CACHED, locate
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.apt_survey import MANAGER, Survey, read_candidates, survey
from redflag_scanner_agent.packages.apt_versions import compare
from redflag_scanner_agent.packages.errors import (
    HeldError,
    NotAvailableError,
    OutputRefusedError,
    PinnedError,
    UnresolvableError,
)
from redflag_scanner_agent.packages.output import one_line
from redflag_wire.command_params import NAMELESS_MODES, PackageRef, PlanMode
from redflag_wire.report_bodies import Plan, PlanItem, UpdateItem

Action = Literal["install", "upgrade", "downgrade", "remove"]
_NAMED_MAX = 10  # packages named in one error


async def make_plan(
    runner: AptRunner, request: Sequence[PackageRef], mode: PlanMode = PlanMode.PACKAGES
) -> Plan:
    """Plan a request against a fresh survey of the host.

    Raises:
        NameRefusedError: an entry is not written like a package, an architecture or a version.
        NotAvailableError: an entry is not offered on this host in this version, or the request does not fit the
            mode.
        HeldError, PinnedError: an entry is held, or kept away by a pin, on this host.
        UnresolvableError: apt finds no way, or leaves a requested package out.
        PackageManagerError: apt or dpkg cannot be asked.
    """
    check_names(request)
    return await plan_within(runner, request, await survey(runner), mode)


def check_names(request: Sequence[PackageRef]) -> None:
    """Refuse words that are no names before any program is started for them.

    Raises:
        NameRefusedError: an entry is not written like a package, an architecture or a version.
    """
    for ref in request:
        check_name(ref.name)
        check_arch(ref.arch)
        check_version(ref.version)


async def plan_within(
    runner: AptRunner, request: Sequence[PackageRef], found: Survey, mode: PlanMode = PlanMode.PACKAGES
) -> Plan:
    """The same, against a survey that was just made and with names that were checked."""
    refs = [ref for _, ref in sorted({(ref.name, ref.arch, ref.version): ref for ref in request}.items())]
    if mode in NAMELESS_MODES:
        if refs:
            raise NotAvailableError(f"packages cannot be named in the mode {mode.value}")
        if mode is PlanMode.SECURITY:
            wanted = security_request(found)
            items = await _install(runner, wanted, found) if wanted else []
        else:
            wanted, items = [], await simulate(runner, ["dist-upgrade"], found)
    elif not refs:
        raise NotAvailableError("nothing was requested")
    elif mode is PlanMode.ROLLBACK:
        wanted = refs
        targets = [place.argument for place in await locate(runner, refs, found)]
        items = await simulate(runner, ["install", "--allow-downgrades", "--", *targets], found)
    else:
        wanted = refs
        check_offered(wanted, found)
        items = await _install(runner, wanted, found)
    _check_complete(wanted, items, found)
    try:
        return Plan(manager=MANAGER, mode=mode, request=refs, items=items)
    except ValidationError as error:
        raise _refused(error) from None


async def simulate(runner: AptRunner, arguments: Sequence[str], found: Survey) -> list[PlanItem]:
    """What `apt-get <arguments>` would do, item by item.

    Raises:
        UnresolvableError: apt finds no way.
        OutputRefusedError: apt says it in a form that is not known.
    """
    simulated = await runner.get("-s", *arguments)
    if simulated.exit_code != 0:
        raise UnresolvableError(error_lines(simulated.stderr) or error_lines(simulated.stdout))
    simulation = parse_simulation(simulated.stdout)
    if simulation.odd_lines:
        raise OutputRefusedError(f"apt-get -s says {simulation.odd_lines[0]!r}")
    try:
        return await _items(runner, simulation.steps, found)
    except ValidationError as error:
        raise _refused(error) from None


def security_request(found: Survey) -> list[PackageRef]:
    """Every installed package with a security update that nothing on this host keeps back.

    The version is apt's candidate: where a newer ordinary version has come after the fix, it holds the fix too, and
    going to the older one would be undone by the next upgrade.
    """
    return [
        PackageRef(name=item.name, arch=item.arch, version=item.candidate)
        for item in found.updates
        if item.security and item.state == "available" and item.installed is not None
    ]


def current_request(request: Sequence[PackageRef], found: Survey) -> list[PackageRef]:
    """The same packages in the versions that are offered now, without those no longer offered."""
    offers = {(item.name, item.arch): item for item in found.updates if item.state not in {"held", "pinned"}}
    return [
        PackageRef(name=ref.name, arch=ref.arch, version=offers[(ref.name, ref.arch)].candidate)
        for ref in request
        if (ref.name, ref.arch) in offers
    ]


def check_offered(request: Sequence[PackageRef], found: Survey) -> None:
    """Refuse what is not in the inventory, or may not be touched.

    Raises:
        NotAvailableError, HeldError, PinnedError: the names, and why.
    """
    offers = _offers(found)
    unknown = [ref for ref in request if (ref.name, ref.arch, ref.version) not in offers]
    if unknown:
        raise NotAvailableError(f"not offered on this host: {_named(unknown)}")
    held = [ref for ref in request if offers[(ref.name, ref.arch, ref.version)].state == "held"]
    if held:
        raise HeldError(f"held on this host: {_named(held)}")
    kept = [ref for ref in request if offers[(ref.name, ref.arch, ref.version)].state == "pinned"]
    if kept:
        reason = offers[(kept[0].name, kept[0].arch, kept[0].version)].reason
        raise PinnedError(f"kept away by the preferences of this host: {_named(kept)}: {reason}")


async def _install(runner: AptRunner, wanted: Sequence[PackageRef], found: Survey) -> list[PlanItem]:
    offers = _offers(found)
    # Something new can only be asked for together with what drags it in; --only-upgrade would skip it.
    all_there = all(offers[(ref.name, ref.arch, ref.version)].installed is not None for ref in wanted)
    targets = [pinned(ref.name, ref.arch, ref.version) for ref in wanted]
    return await simulate(
        runner, ["install", *(["--only-upgrade"] if all_there else []), "--", *targets], found
    )


def _offers(found: Survey) -> dict[tuple[str, str, str], UpdateItem]:
    return {(item.name, item.arch, item.candidate): item for item in found.updates}


def _check_complete(wanted: Sequence[PackageRef], items: Sequence[PlanItem], found: Survey) -> None:
    arch = found.states.package_arch  # a version may be built for `all` and another for the machine
    planned = {(item.name, arch(item.arch), item.new) for item in items}
    left_out = [ref for ref in wanted if (ref.name, arch(ref.arch), ref.version) not in planned]
    if left_out:
        raise UnresolvableError(f"apt leaves out {_named(left_out)}")


def _named(refs: Sequence[PackageRef]) -> str:
    text = ", ".join(f"{ref.name}:{ref.arch} {ref.version}" for ref in refs[:_NAMED_MAX])
    return text if len(refs) <= _NAMED_MAX else f"{text} and {len(refs) - _NAMED_MAX} more"


async def _items(runner: AptRunner, steps: Sequence[Step], found: Survey) -> list[PlanItem]:
    states = found.states
    keys = {(step.name, states.package_arch(step.arch)) for step in steps if step.new is not None}
    candidates = await read_candidates(runner, keys, found.sources, states.native, [])
    items = []
    for step in steps:
        candidate = candidates.get((step.name, states.package_arch(step.arch)))
        source = best(candidate.sources_of(step.new)) if candidate is not None and step.new else None
        state = states.get(step.name, step.arch)
        origin = CACHED if step.from_file else ""
        items.append(
            PlanItem(
                name=step.name,
                arch=state.arch if step.new is None and state is not None else step.arch,
                old=step.old,
                new=step.new,
                origin=one_line(source.text) if source is not None and not step.from_file else origin,
                action=_action(step),
            )
        )
    return sorted(items, key=lambda item: (item.name, item.arch))


def _refused(error: ValidationError) -> OutputRefusedError:
    return OutputRefusedError(f"apt's plan is not one: {error.errors()[0]['msg']}")


def _action(step: Step) -> Action:
    if step.new is None:
        return "remove"
    if step.old is None:
        return "install"
    return "downgrade" if compare(step.new, step.old) < 0 else "upgrade"
