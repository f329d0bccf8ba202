"""Named places where a test may end or break the program: one line each, nothing else happens there.

``REDFLAG_FAILPOINT=name:kill`` in the environment ends the process with SIGKILL when it reaches that name. Tests
inside the process install a hook instead. Without either a failpoint costs one comparison.
"""

import os
import signal
from collections.abc import Callable

Hook = Callable[[str], None]


def _from_environment() -> Hook | None:
    wanted, _, action = os.environ.get("REDFLAG_FAILPOINT", "").partition(":")
    if not wanted or action != "kill":
        return None

    def kill(name: str) -> None:
        if name == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


_hook: Hook | None = _from_environment()


def set_hook(hook: Hook | None) -> None:
    """Install what is called with the name of every failpoint reached; None removes it."""
    global _hook  # noqa: PLW0603 - one per process is the point
    _hook = hook


def failpoint(name: str) -> None:
    """Mark a place. Names are ``<module>.<before|after>_<step>`` and never change."""
    if _hook is not None:
        _hook(name)
