"""Kernel versions and what a host runs on or in, from files alone."""

import os
import re
from pathlib import Path

from redflag_scanner_agent.figures.reading import clean_name, read_text

ENTRIES_MAX = 1_000  # of a directory looked at

_VENDORS = (
    ("qemu", "qemu"),
    ("kvm", "kvm"),
    ("vmware", "vmware"),
    ("virtualbox", "oracle"),
    ("innotek", "oracle"),
    ("xen", "xen"),
    ("bochs", "bochs"),
    ("amazon ec2", "amazon"),
    ("google compute engine", "google"),
    ("virtual machine", "microsoft"),
    ("openstack", "kvm"),
)


def running(root: Path) -> str | None:
    """Return the version of the kernel that runs."""
    return clean_name(read_text(root / "proc/sys/kernel/osrelease") or "")


def installed(root: Path) -> str | None:
    """Return the newest kernel in /boot, None when there is none, as in a container."""
    try:
        with os.scandir(root / "boot") as entries:
            names = [entry.name for entry, _ in zip(entries, range(ENTRIES_MAX), strict=False)]
    except OSError:
        return None
    versions = [name.removeprefix("vmlinuz-") for name in names if name.startswith("vmlinuz-")]
    fitting = [one for one in versions if one[:1].isdigit()]
    return clean_name(max(fitting, key=_order)) if fitting else None


def _order(version: str) -> list[tuple[int, int, str]]:
    """Numbers as numbers: 6.1.0-9 is older than 6.1.0-13."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"\d{1,9}|[^\d]+", version, re.ASCII)
    ]


def virtualization(root: Path) -> str | None:
    """Return what a host runs on or in by the files that tell; None when none does. For hosts without systemd."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    said = read_text(root / "run/systemd/container")
    if said and clean_name(said):
        return clean_name(said)
    for name in ("sys_vendor", "product_name", "board_vendor"):
        text = (read_text(root / "sys/class/dmi/id" / name) or "").lower()
        for sign, kind in _VENDORS:
            if sign in text:
                return kind
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", read_text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return None if flags is None else "vm-other"
