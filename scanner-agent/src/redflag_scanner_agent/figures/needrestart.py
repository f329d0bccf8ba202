"""What needrestart says in its batch form (`needrestart -b`): services that run replaced code, and the kernel's state.

The lines are ``NEEDRESTART-SVC: ssh.service``, ``NEEDRESTART-KSTA: 3``, ``NEEDRESTART-KEXP: 6.1.0-18-amd64`` and
others that do not matter here. Pure; package managers may use `parse` for the answer of an installation.
"""

from dataclasses import dataclass, field

from redflag_scanner_agent.figures.reading import clean, clean_name
from redflag_wire import limits

PROGRAM = ("/usr/sbin/needrestart", "/usr/bin/needrestart")
ARGUMENTS = ("-b", "-r", "l")
"""Batch form, and list only: it never restarts anything."""

_KERNEL_STATES = {"2", "3"}  # a newer kernel is there: compatible by ABI, or another version


@dataclass(frozen=True, slots=True)
class NeedRestart:
    """An answer.

    Attributes:
        services: units or services to restart, sorted, each once, at most 256.
        kernel_expected: the newest kernel it knows, None when it does not say.
        kernel_old: whether the host runs an older one.
    """

    services: list[str] = field(default_factory=list)
    kernel_expected: str | None = None
    kernel_old: bool = False


def parse(text: str) -> NeedRestart | None:
    """Return the answer in the output of `needrestart -b`; None when it is none."""
    lines = [line.partition(": ") for line in text.splitlines() if line.startswith("NEEDRESTART-")]
    if not lines:
        return None
    services = sorted({clean(value.strip()) for key, _, value in lines if key == "NEEDRESTART-SVC"} - {""})
    expected = next((value for key, _, value in lines if key == "NEEDRESTART-KEXP"), "")
    state = next((value.strip() for key, _, value in lines if key == "NEEDRESTART-KSTA"), "")
    return NeedRestart(services[: limits.PROBLEMS_MAX], clean_name(expected), state in _KERNEL_STATES)
