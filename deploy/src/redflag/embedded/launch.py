"""How a child process is started so that it never outlives its parent and never keeps root's rights by accident.

Each child gets a session of its own (a Ctrl-C at the terminal reaches only the supervisor, which stops the
children in order) and a signal from the kernel when the thread that started it ends. Children must therefore be
started from a thread that lives as long as they do: the main one.
"""

import ctypes
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LINUX = sys.platform == "linux"
# Loaded before any fork: between fork and exec nothing may be imported or allocated for the first time.
_LIBC = ctypes.CDLL(None, use_errno=True) if _LINUX else None

ACCOUNTS = ("postgres", "nobody")  # who PostgreSQL runs as when started by root, first one present wins


@dataclass(frozen=True)
class Account:
    """An existing account of the host that a server drops to."""

    name: str
    uid: int
    gid: int

    def may_enter(self, directory: Path) -> bool:
        """Tell whether the account may pass through one directory; its parents are not looked at."""
        return self._allowed(directory.stat(), stat.S_IXUSR)

    def _allowed(self, found: os.stat_result, owner_bit: int) -> bool:
        if found.st_uid == self.uid:
            return bool(found.st_mode & owner_bit)
        if found.st_gid == self.gid:
            return bool(found.st_mode & (owner_bit >> 3))
        return bool(found.st_mode & (owner_bit >> 6))

    def first_closed(self, path: Path) -> Path | None:
        """Return the first directory on the way to `path`, itself included, that is closed to the account."""
        path = path.resolve()
        for directory in [*reversed(path.parents), path]:
            if directory.is_dir() and not self.may_enter(directory):
                return directory
        return None


def service_account() -> Account | None:
    """Return the account that PostgreSQL must drop to, or None when we are not root.

    Only accounts that exist are used: none is made.

    Raises:
        KeyError: we are root and there is no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, found.pw_uid, found.pw_gid)
    raise KeyError(ACCOUNTS[0])


def end_with_parent(death_signal: int) -> Callable[[], None]:
    """Return a function for `preexec_fn`: the kernel sends `death_signal` when the parent's thread ends.

    The kernel forgets the request at a change of user, and `preexec_fn` runs after that, so it holds.
    """
    parent = os.getpid()

    def request() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
            # The parent may have died between the fork and the request.
            if os.getppid() != parent:
                os._exit(128 + death_signal)

    return request


@dataclass(frozen=True)
class Launch:
    """Everything needed to start one child, and the polite way to stop it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path = Path("/")
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM  # when the supervisor is killed
    pass_fds: tuple[int, ...] = field(default=())

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments for `subprocess.Popen` and its asyncio twin."""
        options: dict[str, Any] = {
            "env": dict(self.env),
            "cwd": self.cwd,
            "start_new_session": True,
            "preexec_fn": end_with_parent(self.death_signal),
            "pass_fds": self.pass_fds,
        }
        if self.account is not None:
            options |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        return options
