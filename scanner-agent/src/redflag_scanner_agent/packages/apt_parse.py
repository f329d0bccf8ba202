"""Reading what `apt-get -s` says it would do, and what `apt-get update` complains about.

Rules only: text in, values out; a line of unknown form is left out of the steps and counted, never guessed at.

A simulated step is one line::

    Inst libc6 [2.36-9] (2.36-9+deb12u1 Debian:12.1/stable, Debian-Security:12/stable-security [amd64]) []
    Inst newdep (1.0 Local:1/bed [all])
    Remv oldlib:i386 [1.0]
    Conf libc6 (2.36-9+deb12u1 Debian:12.1/stable [amd64])

The labels in the parentheses are the archive's own words (any archive may call itself Debian-Security), so they
are not used; origins come from `apt_policy`.
"""

import re
from dataclasses import dataclass

PROBLEM_MAX_CHARS = 500  # characters kept of one problem
PROBLEMS_MAX = 20  # problems kept of one run

_STEP = re.compile(r"(Inst|Remv|Purg) (\S+)(?: \[([^\]\s]*)\])?(?: \((\S+)([^()]*)\))?.*")
_ARCH_AT_END = re.compile(r"\[([^\]\s]+)\]\s*$")
_UNREACHABLE = re.compile(
    r"Could not (?:connect|resolve)|Failed to fetch|Unable to connect|Connection (?:failed|timed out|refused)"
    r"|Temporary failure resolving|File not found|does not have a Release file"
)
_HOLDER = re.compile(r"It is held by process (\d+)(?: \(([^)]*)\))?")
_LOCK = re.compile(r"Could not get lock|Unable to acquire the dpkg frontend lock|Unable to lock")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One package that would change. `new` is None for a removal, `old` for a package that is not there yet."""

    name: str
    arch: str  # as the package file says: may be "all"; for a removal the suffix of the name, or ""
    old: str | None
    new: str | None
    from_file: bool = False  # the new version is a file on this host, not one of an archive


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a simulated run would do."""

    steps: tuple[Step, ...]
    odd_lines: tuple[str, ...]  # lines that begin like a step and are not of its form


def parse_simulation(text: str) -> Simulation:
    """Read the output of an `apt-get -s` command.

    A package that is removed and installed again in one run (apt does this to break loops) is one change.
    """
    steps: dict[tuple[str, str], Step] = {}
    odd: list[str] = []
    for line in text.splitlines():
        if not line.startswith(("Inst ", "Remv ", "Purg ")):
            continue
        step = _parse_step(line)
        if step is None:
            odd.append(line[:PROBLEM_MAX_CHARS])
        elif step.new is None:
            steps.setdefault((step.name, step.arch), step)
        else:
            _forget_removal(steps, step)
            steps[(step.name, step.arch)] = step
    return Simulation(steps=tuple(steps.values()), odd_lines=tuple(odd))


def _parse_step(line: str) -> Step | None:
    match = _STEP.fullmatch(line)
    if match is None:
        return None
    verb, full_name, old, new, rest = match.groups()
    name, _, suffix = full_name.partition(":")
    if not name:
        return None
    if verb != "Inst":
        return Step(name=name, arch=suffix, old=old, new=None) if old else None
    arch = _ARCH_AT_END.search(rest or "")
    if not new or arch is None:
        return None
    # An archive's own words end with /suite or :version, so that none of them is just this one.
    from_file = (rest or "").removesuffix(arch.group(0)).strip() == "local-deb"
    return Step(name=name, arch=arch.group(1), old=old or None, new=new, from_file=from_file)


def _forget_removal(steps: dict[tuple[str, str], Step], step: Step) -> None:
    for arch in (step.arch, ""):
        earlier = steps.get((step.name, arch))
        if earlier is not None and earlier.new is None:
            del steps[(step.name, arch)]


def update_problems(text: str) -> list[str]:
    """The warnings and errors of `apt-get update`, each with a short code in front, without repetitions."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        if not line.startswith(("W: ", "E: ")):
            continue
        body = line[3:]
        if body.startswith("Some index files failed to download"):
            continue  # says the same as the lines before it, without a name
        code = "mirror_unreachable" if is_unreachable(body) else "refresh"
        if is_lock(body):
            code = "lock_held"
        found[f"{code}: {body[:PROBLEM_MAX_CHARS]}"] = None
    return list(found)[:PROBLEMS_MAX]


def error_lines(text: str) -> str:
    """The lines that say why a command failed, or the end of the text when there are none."""
    lines = [line for line in text.splitlines() if line.startswith("E: ")]
    return "\n".join(lines) if lines else text.strip()[-PROBLEM_MAX_CHARS:]


def is_unreachable(text: str) -> bool:
    """Whether an error says that something could not be downloaded."""
    return _UNREACHABLE.search(text) is not None


def is_interrupted(text: str) -> bool:
    """Whether an error says that dpkg's last run was cut off."""
    return "dpkg was interrupted" in text


def is_unauthenticated(text: str) -> bool:
    """Whether an error says that packages of an unverified archive would be installed."""
    return "unauthenticated packages" in text


def is_lock(text: str) -> bool:
    """Whether an error says that another program holds a lock."""
    return _LOCK.search(text) is not None


def named_holder(text: str) -> str | None:
    """The program that holds the lock, as apt names it: `process 123 (unattended-upgr)`; None if it does not."""
    match = _HOLDER.search(text)
    if match is None:
        return None
    number, name = match.groups()
    return f"process {number} ({name})" if name else f"process {number}"
