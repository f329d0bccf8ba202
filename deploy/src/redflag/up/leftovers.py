"""Ending what a killed run left behind, and nothing else.

A process is ours when it was recorded (id, start time in this boot, command line) or carries this data directory
in the mark that every child gets in its environment. PostgreSQL is left to its own module, which knows the
signals for an orderly stop.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from redflag.embedded.processes import ProcessIdentity, all_processes, end_processes
from redflag.up.errors import LeftoverError
from redflag.up.state import ChildRecord, UpState, boot_id

POLITE_S = 15.0  # after SIGTERM; a package installation in progress finishes its step
HARD_S = 5.0  # after SIGKILL

_DATA = "REDFLAG_UP_DATA"
_PROGRAM = "REDFLAG_UP_PROGRAM"
_POSTGRES = "postgres"


def mark(root: Path, program: str) -> dict[str, str]:
    """Return the environment entries that mark a child: the data directory it serves, and its name."""
    return {_DATA: str(root.resolve()), _PROGRAM: program}


def find_marked(root: Path, program: str | None = None) -> list[ProcessIdentity]:
    """Return the living processes with this data directory's mark, of one program or of all."""
    wanted = {f"{_DATA}={root.resolve()}".encode()}
    if program is not None:
        wanted.add(f"{_PROGRAM}={program}".encode())
    found = []
    for process in all_processes():
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if wanted.issubset(environment) and process.name() != _POSTGRES and process.pid != os.getpid():
                found.append(process)
    return found


def find_recorded(state: UpState) -> list[ProcessIdentity]:
    """Return the processes that up.json names and that are still the same ones."""
    if state.boot_id != boot_id():
        return []
    return [record.identity() for record in state.children.values() if _same(record)]


def _same(record: ChildRecord) -> bool:
    identity = record.identity()
    return (
        identity.alive
        and identity.name() != _POSTGRES
        and identity.command_line() == tuple(record.command_line)
    )


def end_leftovers(
    root: Path, state: UpState | None = None, *, program: str | None = None
) -> list[tuple[str, int]]:
    """End what is left of an earlier run; return the name and id of each process ended.

    Args:
        root: the data directory.
        state: the last run's records, when there are any.
        program: end only what carries this program's mark.

    Raises:
        LeftoverError: one does not end.
    """
    found: set[ProcessIdentity] = set(find_marked(root, program))
    if state is not None:
        found |= set(find_recorded(state))
    names = [(process.name(), process.pid) for process in found]
    _end(found)
    return names


def _end(found: Iterable[ProcessIdentity]) -> None:
    left = end_processes(found, [(signal.SIGTERM, POLITE_S), (signal.SIGKILL, HARD_S)])
    if left:
        raise LeftoverError(left[0].name(), left[0].pid)
