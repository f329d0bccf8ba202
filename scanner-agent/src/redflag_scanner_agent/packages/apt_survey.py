"""What apt offers this host: every package a full upgrade would change, and every one that is kept from it.

Nothing is taken from apt's prose. A package is listed when apt's candidate differs from what is installed, or
when the simulated full upgrade would install it anew; its state follows from facts:

- `held`: dpkg's selection says hold.
- `available`: the simulated full upgrade changes it.
- `phased`: it would not be changed, and the archive gives the version to a part of all machines only.
- `kept_back`: it would not be changed for any other reason.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from redflag_scanner_agent.packages.apt_dpkg import DpkgState, DpkgStates
from redflag_scanner_agent.packages.apt_names import check_arch, check_name, check_version, pinned
from redflag_scanner_agent.packages.apt_parse import Simulation, Step, error_lines, parse_simulation
from redflag_scanner_agent.packages.apt_policy import (
    Candidate,
    Details,
    Source,
    parse_candidates,
    parse_show,
    parse_sources,
)
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.errors import NameRefusedError
from redflag_scanner_agent.packages.output import one_line
from redflag_wire.limits import UPDATES_MAX
from redflag_wire.report_bodies import UpdateItem

MANAGER = "apt"
State = Literal["available", "held", "kept_back", "phased"]
# Without this, older apt hides a phased version from the policy as well and it could not be named at all.
_WITH_PHASED = ("-o", "APT::Get::Always-Include-Phased-Updates=true")
_FULLY_PHASED = 100  # percent
_UNSOUND_MAX = 20  # packages in a broken state that are named


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One look at the host. `updates` are sorted by name and architecture."""

    updates: list[UpdateItem]
    states: DpkgStates
    sources: Mapping[str, Source]
    problems: list[str]


async def survey(runner: AptRunner) -> Survey:
    """Look at what is offered, from the lists as they are.

    Raises:
        PackageManagerError: apt or dpkg cannot be asked at all. An upgrade that apt cannot compute is a problem
            in the result, not an error: what is offered is still known.
    """
    root = await runner.root()
    simulated, states, policy = await asyncio.gather(
        runner.get("-s", "dist-upgrade"), runner.dpkg_states(), runner.cache("policy")
    )
    problems: list[str] = []
    if simulated.exit_code != 0:
        problems.append(f"unresolvable: {error_lines(simulated.stderr)}")
    simulation = parse_simulation(simulated.stdout)
    problems += _told(simulation, states)
    sources = parse_sources(policy.stdout, root.security_sites)
    steps = {(step.name, states.package_arch(step.arch)): step for step in simulation.steps if step.new}
    keys = {(state.name, states.package_arch(state.arch)) for state in states.present()} | set(steps)
    candidates = await read_candidates(runner, keys, sources, states.native, problems)
    changing = {
        key: one
        for key, one in candidates.items()
        if one.version != one.installed and (one.installed or key in steps)
    }
    details = await _read_details(runner, {key: one.version for key, one in changing.items()}, problems)
    updates: list[UpdateItem] = []
    for key, candidate in sorted(changing.items()):
        try:
            updates.append(_item(key, candidate, steps.get(key), states.get(*key), details.get(key)))
        except ValidationError as error:
            problems.append(f"output_refused: {key[0]}: {error.errors()[0]['msg']}")
    if len(updates) > UPDATES_MAX:
        problems.append(f"too_many: {len(updates) - UPDATES_MAX} updates are left out")
        del updates[UPDATES_MAX:]
    return Survey(updates=updates, states=states, sources=sources, problems=problems)


async def read_candidates(
    runner: AptRunner,
    keys: set[tuple[str, str]],
    sources: Mapping[str, Source],
    native: str,
    problems: list[str],
) -> dict[tuple[str, str], Candidate]:
    """The candidate of each (name, architecture); names apt could misread are left out and told."""
    asked: list[str] = []
    printed: dict[str, tuple[str, str]] = {}
    for name, arch in sorted(keys):
        try:
            asked.append(f"{check_name(name)}:{check_arch(arch)}")
        except NameRefusedError as error:
            problems.append(str(error))
            continue
        printed[name if arch == native else f"{name}:{arch}"] = name, arch
    text = await runner.cache_of([*_WITH_PHASED, "policy"], asked)
    found = parse_candidates(text, sources)
    return {printed[name]: candidate for name, candidate in found.items() if name in printed}


async def _read_details(
    runner: AptRunner, versions: Mapping[tuple[str, str], str], problems: list[str]
) -> dict[tuple[str, str], tuple[str, Details]]:
    """The candidate's own architecture (which may be `all`) and details; unusable versions are told."""
    asked: list[str] = []
    for (name, arch), version in versions.items():
        try:
            asked.append(pinned(name, arch, check_version(version)))
        except NameRefusedError as error:
            problems.append(f"{error} ({name})")
    shown = parse_show(await runner.cache_of(["show"], asked))
    found: dict[tuple[str, str], tuple[str, Details]] = {}
    for (name, arch), version in versions.items():
        for own_arch in (arch, "all"):
            details = shown.get((name, own_arch, version))
            if details is not None:
                found[(name, arch)] = own_arch, details
                break
    return found


def _item(
    key: tuple[str, str],
    candidate: Candidate,
    step: Step | None,
    state: DpkgState | None,
    shown: tuple[str, Details] | None,
) -> UpdateItem:
    own_arch, details = shown if shown is not None else (key[1], Details(size=None, phased_percentage=None))
    source = candidate.source
    return UpdateItem(
        manager=MANAGER,
        name=key[0],
        arch=own_arch,
        installed=candidate.installed,
        candidate=candidate.version,
        origin=one_line(source.site or "localhost") if source is not None else "",
        suite=one_line(source.suite) if source is not None else "",
        security=candidate.security,
        state=_state(step, state, details),
        size=details.size,
    )


def _state(step: Step | None, state: DpkgState | None, details: Details) -> State:
    if state is not None and state.held:
        return "held"
    if step is not None:
        return "available"
    percentage = details.phased_percentage
    return "phased" if percentage is not None and percentage < _FULLY_PHASED else "kept_back"


def _told(simulation: Simulation, states: DpkgStates) -> list[str]:
    problems = [f"output_refused: {line}" for line in simulation.odd_lines]
    problems += [
        f"removal: a full upgrade would remove {step.name} {step.old}"
        for step in simulation.steps
        if step.new is None
    ]
    unsound = states.unsound()
    problems += [
        f"broken: {one.name}:{one.arch} {one.version} is {one.status}" for one in unsound[:_UNSOUND_MAX]
    ]
    if len(unsound) > _UNSOUND_MAX:
        problems.append(f"broken: {len(unsound) - _UNSOUND_MAX} more packages")
    return problems
