"""The signal the kernel sends when the parent dies: a process that changes its account loses it (prctl(2)).

A supervisor that is killed cannot stop its children, so it asks the kernel to. That wish has to outlive the moment
the network process gives its privileges up.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2


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


def _wished() -> int:
    found = ctypes.c_int(0)
    _prctl(_PR_GET_PDEATHSIG, ctypes.byref(found))
    return found.value


def _prctl(option: int, argument: object) -> None:
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
