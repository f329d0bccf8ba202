"""Planning with apt: which packages exactly change when the requested versions are installed.

Guarantees:
1. A request reaches apt only as `name:arch=version`, and only when name, architecture and version together stand
   in this host's own fresh inventory.
2. The plan holds every package of the simulated run, removals included, sorted by name and architecture; two
   plans of the same run are equal to the byte.
3. Every requested version is in the plan, or there is no plan.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError

from redflag_scanner_agent.packages.apt_names import check_arch, check_name, check_version, pinned
from redflag_scanner_agent.packages.apt_parse import Step, error_lines, parse_simulation
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.apt_survey import MANAGER, Survey, read_candidates, survey
from redflag_scanner_agent.packages.apt_versions import compare
from redflag_scanner_agent.packages.errors import (
    HeldError,
    NotAvailableError,
    OutputRefusedError,
    UnresolvableError,
)
from redflag_scanner_agent.packages.output import one_line
from redflag_wire.command_params import PackageRef
from redflag_wire.report_bodies import Plan, PlanItem, UpdateItem

Action = Literal["install", "upgrade", "downgrade", "remove"]
_NAMED_MAX = 10  # packages named in one error


async def make_plan(runner: AptRunner, request: Sequence[PackageRef]) -> Plan:
    """Plan a request against a fresh survey of the host.

    Raises:
        NameRefusedError: an entry is not written like a package, an architecture or a version.
        NotAvailableError: an entry is not offered on this host in this version, or the request is empty.
        HeldError: an entry is held on this host.
        UnresolvableError: apt finds no way, or leaves a requested package out.
        PackageManagerError: apt or dpkg cannot be asked.
    """
    for ref in request:
        check_name(ref.name)
        check_arch(ref.arch)
        check_version(ref.version)
    return await plan_within(runner, request, await survey(runner))


async def plan_within(runner: AptRunner, request: Sequence[PackageRef], found: Survey) -> Plan:
    """The same, against a survey that was just made."""
    refs = sorted({(ref.name, ref.arch, ref.version): ref for ref in request}.items())
    ordered = [ref for _, ref in refs]
    offers = {(item.name, item.arch, item.candidate): item for item in found.updates}
    _check_offered(ordered, offers)
    # Something new can only be asked for together with what drags it in; --only-upgrade would skip it.
    all_there = all(offers[key].installed is not None for key, _ in refs)
    simulated = await runner.get(
        "-s",
        "install",
        *(["--only-upgrade"] if all_there else []),
        "--",
        *(pinned(ref.name, ref.arch, ref.version) for ref in ordered),
    )
    if simulated.exit_code != 0:
        raise UnresolvableError(error_lines(simulated.stderr) or error_lines(simulated.stdout))
    simulation = parse_simulation(simulated.stdout)
    if simulation.odd_lines:
        raise OutputRefusedError(f"apt-get -s says {simulation.odd_lines[0]!r}")
    try:
        items = await _items(runner, simulation.steps, found)
        plan = Plan(manager=MANAGER, request=ordered, items=items)
    except ValidationError as error:
        raise OutputRefusedError(f"apt's plan is not one: {error.errors()[0]['msg']}") from None
    _check_complete(plan)
    return plan


def current_request(request: Sequence[PackageRef], found: Survey) -> list[PackageRef]:
    """The same packages in the versions that are offered now, without those no longer offered."""
    offers = {(item.name, item.arch): item for item in found.updates if item.state != "held"}
    return [
        PackageRef(name=ref.name, arch=ref.arch, version=offers[(ref.name, ref.arch)].candidate)
        for ref in request
        if (ref.name, ref.arch) in offers
    ]


def _check_offered(request: Sequence[PackageRef], offers: dict[tuple[str, str, str], UpdateItem]) -> None:
    if not request:
        raise NotAvailableError("nothing was requested")
    unknown = [ref for ref in request if (ref.name, ref.arch, ref.version) not in offers]
    if unknown:
        raise NotAvailableError(f"not offered on this host: {_named(unknown)}")
    held = [ref for ref in request if offers[(ref.name, ref.arch, ref.version)].state == "held"]
    if held:
        raise HeldError(f"held on this host: {_named(held)}")


def _check_complete(plan: Plan) -> None:
    planned = {(item.name, item.arch, item.new) for item in plan.items}
    left_out = [ref for ref in plan.request if (ref.name, ref.arch, ref.version) not in planned]
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
        source = candidate.source if candidate is not None and candidate.version == step.new else None
        state = states.get(step.name, step.arch)
        items.append(
            PlanItem(
                name=step.name,
                arch=state.arch if step.new is None and state is not None else step.arch,
                old=step.old,
                new=step.new,
                origin=one_line(source.text) if source is not None else "",
                action=_action(step),
            )
        )
    return sorted(items, key=lambda item: (item.name, item.arch))


def _action(step: Step) -> Action:
    if step.new is None:
        return "remove"
    if step.old is None:
        return "install"
    return "downgrade" if compare(step.new, step.old) < 0 else "upgrade"
