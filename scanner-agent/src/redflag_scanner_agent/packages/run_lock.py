"""Whether a package manager that this agent started is still at work, whoever started it has died or not.

A run that outlives its helper may hold none of dpkg's locks yet: it waits for another program to let go of them,
or downloads, and changes the host later. It is known by a lock (flock) of the agent's own:

1. The lock belongs to an open file that the package manager inherits and the helper closes, so it lives exactly
   as long as that process.
2. The file is never removed: a lock on a file that has lost its name would be seen by nobody.
3. apt closes inherited files in the programs it starts (ExecFork), so no daemon that a maintainer script starts
   keeps the lock. A dpkg that outlives its apt-get is seen by dpkg's own lock (`apt_lock`).
"""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from redflag_scanner_agent.packages.errors import LockHeldError, ProgramMissingError

LOCK_FILE = "install.lock"
POLL_S = 0.2  # seconds between two looks
_PID_MAX_BYTES = 16


def take(directory: Path) -> int:
    """Lock for a new run and return the descriptor, which the run inherits and the caller closes.

    Raises:
        LockHeldError: an earlier run is still at work.
        ProgramMissingError: the file cannot be written.
    """
    path = directory / LOCK_FILE
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProgramMissingError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
    except BlockingIOError:
        holder = _named(handle)
        os.close(handle)
        raise held_error(holder) from None
    except OSError as error:
        os.close(handle)
        raise ProgramMissingError(f"cannot lock {path}: {error.strerror}") from error
    return handle


def name_run(handle: int, number: int) -> None:
    """Write the run's process number into the file; it is for people only."""
    os.pwrite(handle, b"%d\n" % number, 0)


def earlier_run(directory: Path) -> str | None:
    """The run that is still at work, for people, or None.

    Raises:
        ProgramMissingError: the file is there and cannot be read.
    """
    path = directory / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProgramMissingError(f"cannot read {path}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(handle)
    except OSError as error:
        raise ProgramMissingError(f"cannot lock {path}: {error.strerror}") from error
    finally:
        os.close(handle)
    return None


async def wait_for_earlier_run(directory: Path, *, limit_s: float) -> str | None:
    """Wait until no run is at work; its name when `limit_s` seconds were not enough.

    Raises:
        ProgramMissingError: the file is there and cannot be read.
    """
    deadline = time.monotonic() + limit_s
    while (holder := earlier_run(directory)) is not None:
        if time.monotonic() >= deadline:
            return holder
        await asyncio.sleep(POLL_S)
    return None


def held_error(holder: str) -> LockHeldError:
    """The error of a run that cannot begin because of an earlier one."""
    return LockHeldError(f"an earlier run of this agent is still at work: {holder}", holder=holder)


def _named(handle: int) -> str:
    try:
        number = os.pread(handle, _PID_MAX_BYTES, 0).decode("ascii", "replace").strip()
    except OSError:
        number = ""
    return f"process {number or 'unknown'}, started by this agent"
