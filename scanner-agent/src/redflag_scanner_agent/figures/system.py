"""How a host is doing, from /proc, /sys and /run below a root that tests replace."""

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redflag_scanner_agent.figures import kernel, processes
from redflag_scanner_agent.figures.reading import clean, milli, read_text, whole
from redflag_wire import limits
from redflag_wire.system_bodies import System

HOST = Path("/")
CPUINFO_MAX_BYTES = 4 * 1024 * 1024  # a line or two hundred for every processor
_KIB = 1024
_CPUS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Asked:
    """What programs said, where they are there.

    Attributes:
        virtualization: of systemd-detect-virt; None to go by the files.
        services: of needrestart; None when it cannot be told.
        kernel: the newest one needrestart knows.
    """

    virtualization: str | None = None
    services: list[str] | None = None
    kernel: str | None = None


def collect(now: datetime, asked: Asked, root: Path = HOST) -> System:
    """Return the figures; takes some milliseconds per thousand processes.

    Args:
        now: the host's wall time.
        asked: what programs said.
        root: the host's own, or a tree of a test.
    """
    uptime = (read_text(root / "proc/uptime") or "").split()
    load = [*(read_text(root / "proc/loadavg") or "").split()[:3], None, None, None]
    memory = meminfo(read_text(root / "proc/meminfo") or "")
    cpuinfo = read_text(root / "proc/cpuinfo", CPUINFO_MAX_BYTES) or ""
    found = processes.collect(
        root / "proc", page_bytes=os.sysconf("SC_PAGE_SIZE"), ticks_per_s=os.sysconf("SC_CLK_TCK")
    )
    return System(
        collected_at=now,
        uptime_s=None if not uptime else whole(uptime[0].partition(".")[0]),
        cpu_count=cpu_count(read_text(root / "sys/devices/system/cpu/online"), cpuinfo),
        cpu_model=cpu_model(cpuinfo),
        load1_milli=milli(load[0]),
        load5_milli=milli(load[1]),
        load15_milli=milli(load[2]),
        memory_total_bytes=memory.get("MemTotal"),
        memory_available_bytes=memory.get("MemAvailable", memory.get("MemFree")),
        swap_total_bytes=memory.get("SwapTotal"),
        swap_free_bytes=memory.get("SwapFree"),
        processes_total=found.total,
        processes_running=found.running,
        processes_zombie=found.zombie,
        top_processes=found.top,
        kernel_running=kernel.running(root) or "unknown",
        kernel_installed=kernel.installed(root) or asked.kernel,
        virtualization=asked.virtualization or kernel.virtualization(root),
        reboot_required=(root / "run/reboot-required").exists(),
        reboot_reasons=reboot_reasons(read_text(root / "run/reboot-required.pkgs") or ""),
        services_to_restart=asked.services,
    )


def meminfo(text: str) -> dict[str, int]:
    """Return the figures of /proc/meminfo that are there, in bytes."""
    found: dict[str, int] = {}
    for name, kib in re.findall(r"^(\w+):\s+(\d{1,16}) kB$", text, re.ASCII | re.MULTILINE):
        size = int(kib) * _KIB
        if size < limits.INTEGER_LIMIT:
            found.setdefault(name, size)
    return found


def cpu_count(online: str | None, cpuinfo: str) -> int | None:
    """Return how many processors the kernel schedules on: by its list such as `0-3,6`, else by /proc/cpuinfo."""
    total = 0
    for part in (online or "").strip().split(","):
        first, _, last = part.partition("-")
        low, high = whole(first), whole(last or first)
        if low is None or high is None or not low <= high < _CPUS_MAX:
            total = 0
            break
        total += high - low + 1
    return total or len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)) or None


def cpu_model(cpuinfo: str) -> str:
    """Return what the processor calls itself; empty when it does not say."""
    named = re.search(r"^(?:model name|Model|cpu model|machine)\s*:[ \t]*(.+)$", cpuinfo, re.MULTILINE)
    return "" if named is None else clean(named[1].strip())


def reboot_reasons(text: str) -> list[str]:
    """Return the packages that asked for a restart, each once, in order."""
    names = dict.fromkeys(clean(line.strip()) for line in text.splitlines() if line.strip())
    return list(names)[: limits.PROBLEMS_MAX]
