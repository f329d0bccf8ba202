"""Who holds dpkg's locks, without taking them.

A probe after a crash must not judge a host on which the package manager is still at work, and a held lock is
reported with the name of its holder, because "locked" alone helps nobody.
"""

import asyncio
import fcntl
import os
import struct
import time
from pathlib import Path

_LOCKS = ("lock-frontend", "lock")
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
POLL_S = 0.2  # seconds between two looks


def lock_holder(admin_directory: Path) -> str | None:
    """The program that holds one of dpkg's locks, as `process 123 (apt-get)`, or None when nobody does.

    A lock file that cannot be opened counts as not held: it takes the rights that a package manager has.
    """
    for name in _LOCKS:
        number = _holder_of(admin_directory / name)
        if number is not None:
            return f"process {number} ({_program(number)})"
    return None


async def wait_unlocked(admin_directory: Path, *, limit_s: float) -> str | None:
    """Wait until nobody holds dpkg's locks; the holder's name when `limit_s` seconds were not enough."""
    deadline = time.monotonic() + limit_s
    while (holder := lock_holder(admin_directory)) is not None:
        if time.monotonic() >= deadline:
            return holder
        await asyncio.sleep(POLL_S)
    return None


def _holder_of(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(handle, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return None
    finally:
        os.close(handle)
    kind, _, _, _, number = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else int(number)


def _program(number: int) -> str:
    try:
        return Path(f"/proc/{number}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "unknown"
