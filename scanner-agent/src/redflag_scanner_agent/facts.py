"""What this host is: for enrolment, for the facts report, and for `status`.

The machine id is a hash of `/etc/machine-id`, never the id itself and never a guess: two hosts with one id would be
taken for a clone of each other.
"""

import hashlib
import os
import platform
import re
import socket
import unicodedata
from importlib import metadata
from pathlib import Path

from redflag_scanner_agent.errors import HostFactsError
from redflag_wire import limits
from redflag_wire.report_bodies import Facts, ManagerCapability

MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DISTRIBUTION = "redflag-scanner-agent"
_MACHINE_ID_FORM = re.compile(r"[0-9a-f]{32}")
_DECEIVING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def machine_id(path: Path = MACHINE_ID) -> str:
    """Return sha256 over the machine id, 64 lower-case hex digits.

    Raises:
        HostFactsError: there is none; the text says what to do.
    """
    advice = "run 'systemd-machine-id-setup', or 'dbus-uuidgen --ensure=/etc/machine-id' without systemd"
    try:
        text = path.read_text("ascii").strip().lower().replace("-", "")
    except (OSError, UnicodeDecodeError) as error:
        raise HostFactsError("machine_id", f"cannot read {path} ({error}); {advice}") from None
    if _MACHINE_ID_FORM.fullmatch(text) is None or set(text) == {"0"}:
        raise HostFactsError("machine_id", f"{path} holds no machine id; {advice}")
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def boot_id(path: Path = BOOT_ID) -> str:
    """Return the kernel's id of this boot.

    Raises:
        HostFactsError: this is not Linux, or /proc is not there.
    """
    try:
        return path.read_text("ascii").strip()
    except OSError as error:
        raise HostFactsError("boot_id", f"cannot read {path} ({error}); the agent needs /proc") from None


def agent_version() -> str:
    """Return the installed version of the agent."""
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"


def collect(capabilities: list[ManagerCapability]) -> Facts:
    """Return the facts of this host.

    Args:
        capabilities: of its package managers, as the helper found them.

    Raises:
        HostFactsError: a fact the agent cannot do without is missing.
    """
    system = os.uname()
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return Facts(
        hostname=name_of(socket.gethostname()),
        machine_id=machine_id(),
        os_id=name_of(release.get("ID", "linux")),
        os_name=name_of(release.get("NAME", system.sysname)),
        os_version=name_of(release.get("VERSION_ID", release.get("VERSION_CODENAME", ""))),
        arch=name_of(system.machine),
        kernel=name_of(system.release),
        agent_version=name_of(agent_version()),
        boot_id=boot_id(),
        capabilities=capabilities,
    )


def name_of(text: str) -> str:
    """Return a text as a name the wire takes: normal form C, no deceiving signs, 1 to 256 bytes."""
    clean = unicodedata.normalize("NFC", _DECEIVING.sub("?", text.encode("utf-8", "replace").decode()))
    cut = clean.encode()[: limits.NAME_MAX_BYTES].decode("utf-8", "ignore")
    return cut or "unknown"
