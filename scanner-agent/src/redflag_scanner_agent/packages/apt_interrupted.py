"""A dpkg that was cut off: noticing it as apt does, and putting it in order where the host's policy allows that.

dpkg writes each change of a package's state into its journal (`updates/`, files named with digits only) and empties
it when it ends. Files in it mean that a run was killed, or that the power went. apt refuses to work on such a host,
because the status file it reads is not the truth. A package that is merely broken (its script failed) is another
matter: apt finishes it in passing.
"""

import contextlib
from pathlib import Path

from redflag_scanner_agent.packages.apt_dpkg import DpkgStates
from redflag_scanner_agent.packages.apt_lock import wait_unlocked
from redflag_scanner_agent.packages.apt_parse import error_lines
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.errors import DatabaseInterruptedError, LockHeldError
from redflag_scanner_agent.packages.output import one_line

REPAIR_TIMEOUT_S = 3600.0  # seconds for `dpkg --configure -a`
_NAMED_MAX = 5  # packages named in one line
WHAT_TO_DO = (
    "run `dpkg --configure -a` on the host, or let RedFlag do it first with `repair_interrupted = true` in the "
    "host's policy file"
)


def is_interrupted(admin_directory: Path) -> bool:
    """Whether dpkg's journal holds anything."""
    with contextlib.suppress(OSError):
        names = [entry.name for entry in (admin_directory / "updates").iterdir()]
        return any(name.isascii() and name.isdigit() for name in names)
    return False


def refusal(admin_directory: Path) -> DatabaseInterruptedError:
    """The error of a host on which nothing may be changed before this is put in order."""
    return DatabaseInterruptedError(
        f"dpkg was interrupted on this host ({admin_directory}/updates is not empty): {WHAT_TO_DO}"
    )


async def is_interrupted_for_sure(admin_directory: Path, *, limit_s: float) -> bool:
    """Whether dpkg was cut off, judged when nobody is at work: a running dpkg fills its journal, too.

    Raises:
        LockHeldError: another program was at work all the `limit_s` seconds.
    """
    if not is_interrupted(admin_directory):
        return False
    holder = await wait_unlocked(admin_directory, limit_s=limit_s)
    if holder is not None:
        raise LockHeldError(f"dpkg is still at work after {limit_s:g} s: {holder}", holder=holder)
    return is_interrupted(admin_directory)


async def repair(runner: AptRunner, *, timeout_s: float = REPAIR_TIMEOUT_S) -> str:
    """Run `dpkg --configure -a` and return what it did, in one line.

    Raises:
        DatabaseInterruptedError: dpkg is still not in order afterwards.
        PackageManagerError: dpkg cannot be asked.
    """
    root = await runner.root()
    before = await runner.dpkg_states()
    finished = await runner.configure_pending(timeout_s=timeout_s)
    if is_interrupted(root.admin_directory):
        raise DatabaseInterruptedError(
            f"`dpkg --configure -a` ended with {finished.exit_code} and did not help: "
            f"{error_lines(finished.stderr)}"
        )
    return told(before, await runner.dpkg_states(), finished.exit_code)


def told(before: DpkgStates, after: DpkgStates, exit_code: int) -> str:
    """What a repair came to: which packages it finished, and which are still not in order."""
    left = {(one.name, one.arch): one for one in after.unsound()}
    done = [one for one in before.unsound() if (one.name, one.arch) not in left]
    parts = [f"dpkg had been interrupted; `dpkg --configure -a` ended with {exit_code}"]
    if done:
        parts.append("finished: " + _listed([f"{one.name} {one.version}" for one in done]))
    if left:
        parts.append(
            "still not in order: " + _listed([f"{one.name} ({one.status})" for one in left.values()])
        )
    return one_line("; ".join(parts))


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
