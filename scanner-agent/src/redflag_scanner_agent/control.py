"""How far one action is, and whether somebody asked it to stop.

An action can be stopped until the step `install` of an installation. From there on a cancel comes too late: half of
an installation is never left behind for its sake. A repair runs a program which outlives its caller and is not cut
off; the next step stops it. A download is: it may take hours, and what it has fetched changes nothing.
"""

from collections.abc import Callable

from redflag_scanner_agent.packages.errors import CancelledByOperatorError

LOOKING_STEPS = frozenset({"repair", "simulate", "download"})
"""Steps of an installation after which nothing of its plan has changed the host (`packages.base`)."""

CUT_OFF_STEPS = frozenset({"simulate", "download"})
"""Steps whose programs end with their caller."""


class Control:
    """The wish to stop one action, and the answer whether it still can.

    Args:
        on_step: told each step of an installation.
    """

    def __init__(self, on_step: Callable[[str], None] = lambda _step: None) -> None:
        self._on_step = on_step
        self._wanted = False
        self._acting = False
        self._step: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether it is asked to stop."""
        return self._wanted

    @property
    def acting(self) -> bool:
        """Whether it is past the point where it can be stopped."""
        return self._acting

    @property
    def may_cut_off(self) -> bool:
        """Whether the work may be ended where it stands, and not only at its next step."""
        return not self._acting and (self._step is None or self._step in CUT_OFF_STEPS)

    def ask_to_stop(self) -> bool:
        """Ask; return whether that was in time."""
        if self._acting:
            return False
        self._wanted = True
        return True

    def step(self, name: str) -> None:
        """Take up a step.

        Raises:
            CancelledByOperatorError: it is asked to stop, and nothing of the plan was done yet.
        """
        if self._wanted and not self._acting:
            raise CancelledByOperatorError(f"cancelled before the step {name}")
        self._step = name
        if name not in LOOKING_STEPS:
            self._acting = True
        self._on_step(name)
