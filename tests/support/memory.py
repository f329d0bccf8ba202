"""Temporary files of tests in memory, where the machine has a place for that.

Databases, brokers and apt roots of tests are many small files that are gone a second later; on a disk the tests
would mostly wait for it. What a test shows is the same: it kills processes, never the machine.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")
NEEDED_BYTES: Final = 2 << 30
"""A whole run keeps well under 1 GiB at a time; the rest is the machine's."""


def memory_directory(place: Path = SHARED_MEMORY, needed: int = NEEDED_BYTES) -> Path | None:
    """`place` when files can be made and programs started in it and `needed` bytes are free, else None."""
    try:
        found = os.statvfs(place)
    except OSError:
        return None
    # Containers often mount it without programs, or with 64 MiB.
    fits = not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= needed
    return place if fits and os.access(place, os.W_OK | os.X_OK) else None


def use_memory() -> None:
    """Let this process and all it starts make temporary files in memory, unless TMPDIR says where."""
    directory = memory_directory()
    if directory is not None and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = str(directory)
        tempfile.tempdir = None
