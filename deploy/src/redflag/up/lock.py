"""One `redflag up` at a time on a data directory.

The lock is the kernel's, so it is gone with the process that held it, however that ended.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from redflag.up.data_dir import DataDir
from redflag.up.errors import AlreadyRunningError


@contextmanager
def hold(data: DataDir) -> Iterator[None]:
    """Hold the data directory.

    Raises:
        AlreadyRunningError: somebody else does.
    """
    number = os.open(data.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(number, 32, 0).decode(errors="replace").strip()
            raise AlreadyRunningError(data.root, int(text) if text.isdigit() else None) from None
        os.ftruncate(number, 0)
        os.pwrite(number, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(number)
