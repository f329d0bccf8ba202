"""Files that are whole or unchanged: written beside, fsynced, renamed, the directory fsynced (docs/protocol.md 8.4).

The directory is opened once and all names are looked up in it: a process that gave its privileges up can go on
using a directory of its own below one it may no longer enter, and a link put in the place of a file is not followed.
"""

import contextlib
import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from redflag_scanner_agent.errors import NotDurableError, StateNotPermittedError
from redflag_scanner_agent.failpoints import failpoint

FILE_MAX_BYTES = 1024 * 1024  # of any state file; a larger one is not ours
MODE = 0o600

_WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
}


class DurableDirectory:
    """A directory of state files.

    Args:
        path: the directory, which exists.

    Raises:
        NotDurableError: it cannot be opened; `StateNotPermittedError` if it is another account's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None if it is not there.

        Raises:
            NotDurableError: it cannot be read or is too large; `StateNotPermittedError` if it is another account's.
        """
        try:
            # Not blocking: a pipe put in a file's place must not hold a privileged reader.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(name, flags, dir_fd=self._handle)
            with os.fdopen(handle, "rb") as stream:
                data = stream.read(FILE_MAX_BYTES + 1) or b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.path / name, error) from None
        if len(data) > FILE_MAX_BYTES:
            raise NotDurableError("state_file", f"{self.path / name} is larger than any file of the agent")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Replace a file as one durable step.

        Raises:
            NotDurableError: it could not be made durable; the file of before still stands.
        """
        beside = f".{name}.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=self._handle)
            handle = os.open(
                beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE, dir_fd=self._handle
            )
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            failpoint("durable.before_rename")
            os.rename(beside, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
            os.fsync(self._handle)
        except OSError as error:
            raise _not_durable(self.path / name, error) from None


def _unreadable(path: Path, error: OSError) -> NotDurableError:
    if isinstance(error, PermissionError):
        return StateNotPermittedError(
            "state_permission", f"{path} belongs to another account; run this as root or as that account"
        )
    return NotDurableError("state_unreadable", f"cannot read {path}: {error.strerror}")


def _not_durable(path: Path, error: OSError) -> NotDurableError:
    why = _WHY.get(error.errno or 0, error.strerror or "it cannot be written")
    return NotDurableError("state_not_durable", f"{path}: {why}; nothing was replaced")
