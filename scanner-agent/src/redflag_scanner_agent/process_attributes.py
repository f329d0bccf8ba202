"""What a process asks of the kernel about itself (prctl(2)), on Linux only.

A supervisor that is killed cannot stop its children, so it asks the kernel to; a process that changes its account
loses that wish, so it is made again. And a process without privileges asks never to get any.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_NO_NEW_PRIVS = 38


@contextmanager
def kept_over_change_of_account() -> Iterator[None]:
    """Ask for the same signal again after the body changed the account; without a wish, or off Linux, do nothing."""
    number, parent = _wished(), os.getppid()
    yield
    if number:
        _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number))
        if os.getppid() != parent:
            # It died in between, and nobody will send the signal any more.
            os.kill(os.getpid(), signal.Signals(number))


def gain_no_privileges() -> None:
    """Make every program this process may ever start run without set-uid, set-gid and file capabilities."""
    _prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def _wished() -> int:
    found = ctypes.c_int(0)
    _prctl(_PR_GET_PDEATHSIG, ctypes.byref(found))
    return found.value


def _prctl(option: int, argument: object) -> None:
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
