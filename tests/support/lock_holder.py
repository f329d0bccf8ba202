"""Another process that holds a lock file as dpkg and apt do (POSIX record lock)."""

import subprocess
import sys
from pathlib import Path


class holder_of:  # noqa: N801 - reads as a phrase
    """Inside `with holder_of(path) as process:` the lock is held by `process`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> subprocess.Popen[bytes]:
        script = (
            "import fcntl, os, sys\n"
            "handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o640)\n"
            "fcntl.lockf(handle, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(self._path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"held\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)
