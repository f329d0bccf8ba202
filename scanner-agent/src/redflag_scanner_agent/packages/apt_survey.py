"""What apt offers this host: every package a full upgrade would change, and every one that is kept from it.

Nothing is taken from apt's prose. A package is listed when apt's candidate differs from what is installed, when the
simulated full upgrade would install it anew, or when only a preferences file keeps a newer version away: apt is
then asked a second time as if there were no preferences. What the states mean stands in `apt_states`.

`severity` stays empty: no distribution puts its own judgement of an update into what apt has on the host. The
urgency in a changelog is the packager's wish for speed, and Debian's and Ubuntu's judgements are published
elsewhere. `security` says what is known: that the fix comes through the distribution's security archive.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from redflag_scanner_agent.packages import apt_pins, apt_states
from redflag_scanner_agent.packages.apt_dpkg import DpkgState, DpkgStates
from redflag_scanner_agent.packages.apt_names import check_arch, check_name, check_version, pinned
from redflag_scanner_agent.packages.apt_parse import Simulation, Step, error_lines, parse_simulation
from redflag_scanner_agent.packages.apt_policy import (
    Candidate,
    Details,
    best,
    parse_candidates,
    parse_show,
)
from redflag_scanner_agent.packages.apt_run import AptRoot, AptRunner
from redflag_scanner_agent.packages.apt_sources import Source, parse_sources, parse_targets
from redflag_scanner_agent.packages.apt_versions import compare
from redflag_scanner_agent.packages.errors import NameRefusedError
from redflag_scanner_agent.packages.output import one_line
from redflag_wire.limits import UPDATES_MAX
from redflag_wire.report_bodies import UpdateItem

MANAGER = "apt"
# Without this, older apt hides a phased version from the policy as well and it could not be named at all.
_WITH_PHASED = ("-o", "APT::Get::Always-Include-Phased-Updates=true")
WITHOUT_PINS = ("-o", "Dir::Etc::preferences=/dev/null", "-o", "Dir::Etc::preferencesparts=/dev/null")
_UNSOUND_MAX = 20  # packages in a broken state that are named
_KEPT_BACK_ASKED = 8  # kept-back packages whose reason apt is asked for, one simulation each

Key = tuple[str, str]  # name, and the architecture under which apt keeps it


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One look at the host. `updates` are sorted by name and architecture."""

    updates: list[UpdateItem]
    states: DpkgStates
    sources: Mapping[str, Source]
    problems: list[str]


async def survey(runner: AptRunner, *, reasons: bool = False) -> Survey:
    """Look at what is offered, from the lists as they are.

    Args:
        runner: where apt's programs run.
        reasons: whether to ask apt, too, why packages are kept back; it takes a simulation for each.

    Raises:
        PackageManagerError: apt or dpkg cannot be asked at all. An upgrade that apt cannot compute is a problem
            in the result, not an error: what is offered is still known.
    """
    root = await runner.root()
    simulated, states, policy, targets = await asyncio.gather(
        runner.get("-s", "dist-upgrade"), runner.dpkg_states(), runner.cache("policy"), runner.targets()
    )
    problems: list[str] = []
    if simulated.exit_code != 0:
        problems.append(f"unresolvable: {error_lines(simulated.stderr)}")
    if targets.exit_code != 0:
        problems.append(
            f"sources: apt does not say which signatures it verified: {error_lines(targets.stderr)}"
        )
    simulation = parse_simulation(simulated.stdout)
    problems += _told(simulation, states)
    trust = parse_targets(targets.stdout, lambda path: path.is_file())
    sources = parse_sources(policy.stdout, trust, root.security_sites)
    steps = {(step.name, states.package_arch(step.arch)): step for step in simulation.steps if step.new}
    keys = {(state.name, states.package_arch(state.arch)) for state in states.present()} | set(steps)
    candidates = await read_candidates(runner, keys, sources, states.native, problems)
    changing = {
        key: one
        for key, one in candidates.items()
        if one.version != one.installed and (one.installed or key in steps)
    }
    pins = await _read_pins(runner, root, keys - set(changing), candidates, sources, states.native)
    changing |= {key: one for key, (one, _) in pins.items()}
    details = await _read_details(runner, {key: one.version for key, one in changing.items()}, problems)
    updates: list[UpdateItem] = []
    for key, candidate in sorted(changing.items()):
        pin = pins[key][1] if key in pins else None
        try:
            updates.append(_item(key, candidate, steps.get(key), states.get(*key), details.get(key), pin=pin))
        except ValidationError as error:
            problems.append(f"output_refused: {key[0]}: {error.errors()[0]['msg']}")
    if len(updates) > UPDATES_MAX:
        problems.append(f"too_many: {len(updates) - UPDATES_MAX} updates are left out")
        del updates[UPDATES_MAX:]
    if reasons:
        updates = await _with_reasons(runner, updates)
    return Survey(updates=updates, states=states, sources=sources, problems=problems)


async def read_candidates(
    runner: AptRunner,
    keys: set[Key],
    sources: Mapping[str, Source],
    native: str,
    problems: list[str],
    *,
    options: Sequence[str] = (),
) -> dict[Key, Candidate]:
    """The candidate of each (name, architecture); names apt could misread are left out and told."""
    asked: list[str] = []
    printed: dict[str, Key] = {}
    for name, arch in sorted(keys):
        try:
            asked.append(f"{check_name(name)}:{check_arch(arch)}")
        except NameRefusedError as error:
            problems.append(str(error))
            continue
        printed[name if arch == native else f"{name}:{arch}"] = name, arch
    text = await runner.cache_of([*_WITH_PHASED, *options, "policy"], asked)
    found = parse_candidates(text, sources)
    return {printed[name]: candidate for name, candidate in found.items() if name in printed}


async def _read_pins(  # noqa: PLR0917
    runner: AptRunner,
    root: AptRoot,
    keys: set[Key],
    candidates: Mapping[Key, Candidate],
    sources: Mapping[str, Source],
    native: str,
) -> dict[Key, tuple[Candidate, str]]:
    """Which newer versions only the host's preferences keep away: as apt would offer them, and why it does not."""
    records = apt_pins.read_records(root.preferences, root.preferences_parts)
    if not records:
        return {}
    told: list[str] = []  # the names were complained of in the first look already
    free = await read_candidates(runner, keys, sources, native, told, options=WITHOUT_PINS)
    return {
        key: (one, apt_pins.reason(key[0], one.version, candidates.get(key), records))
        for key, one in free.items()
        if one.installed is not None and compare(one.version, one.installed) > 0
    }


async def _read_details(
    runner: AptRunner, versions: Mapping[Key, str], problems: list[str]
) -> dict[Key, tuple[str, Details]]:
    """The candidate's own architecture (which may be `all`) and details; unusable versions are told."""
    asked: list[str] = []
    for (name, arch), version in versions.items():
        try:
            asked.append(pinned(name, arch, check_version(version)))
        except NameRefusedError as error:
            problems.append(f"{error} ({name})")
    shown = parse_show(await runner.cache_of(["show"], asked))
    found: dict[Key, tuple[str, Details]] = {}
    for (name, arch), version in versions.items():
        for own_arch in (arch, "all"):
            details = shown.get((name, own_arch, version))
            if details is not None:
                found[(name, arch)] = own_arch, details
                break
    return found


def _item(
    key: Key,
    candidate: Candidate,
    step: Step | None,
    state: DpkgState | None,
    shown: tuple[str, Details] | None,
    *,
    pin: str | None,
) -> UpdateItem:
    own_arch, details = shown if shown is not None else (key[1], Details(size=None, phased_percentage=None))
    source = best(candidate.sources)
    held = state is not None and state.held
    percent = apt_states.phased_percent(details.phased_percentage)
    status, reason = apt_states.state_of(
        held=held, changes=step is not None, percent=percent, candidate=candidate.version
    )
    if pin is not None and not held:
        status, reason = "pinned", pin
    return UpdateItem(
        manager=MANAGER,
        name=key[0],
        arch=own_arch,
        installed=candidate.installed,
        candidate=candidate.version,
        # The site and not the Release file's own words about itself; "localhost" for a local directory.
        origin=one_line(source.site or "localhost") if source is not None else "",
        site=one_line(source.site) if source is not None else "",
        trusted=source.verified if source is not None else None,
        suite=one_line(source.suite) if source is not None else "",
        security=candidate.security,
        state=status,
        reason=one_line(reason) if reason is not None else None,
        phased_percent=percent,
        size=details.size,
    )


async def _with_reasons(runner: AptRunner, updates: list[UpdateItem]) -> list[UpdateItem]:
    """The same updates, the first kept-back ones with what apt says when asked for just that package."""
    asked = 0
    found = []
    for item in updates:
        reason = item.reason
        if item.state == "kept_back" and asked < _KEPT_BACK_ASKED:
            asked += 1
            alone = await runner.get("-s", "install", "--", pinned(item.name, item.arch, item.candidate))
            reason = one_line(apt_states.kept_back_reason(alone.exit_code, alone.stdout))
        found.append(item.model_copy(update={"reason": reason}))
    return found


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
