"""Bodies about the host itself: how it is doing now (``system``) and what its volumes hold (``storage``).

All figures are integers with their unit in the name; a figure the host cannot read is None, never a guess.
"""

from typing import Literal

from pydantic import Field

from redflag_wire import limits
from redflag_wire.fields import Count, Integer, Line, Name
from redflag_wire.payload import WireModel
from redflag_wire.timestamps import Timestamp


class Process(WireModel):
    """One of the processes that hold the most memory.

    Attributes:
        pid: its number.
        name: as the kernel keeps it; any local user may choose it.
        rss_bytes: memory it holds.
        cpu_ms: processor time it has used since it began.
    """

    pid: Count
    name: Line
    rss_bytes: Count
    cpu_ms: Count


class System(WireModel):
    """How a host is doing.

    Attributes:
        collected_at: when, by the host.
        uptime_s: seconds since it was started.
        cpu_count: processors the kernel schedules on.
        cpu_model: as it names itself; may be empty.
        load1_milli, load5_milli, load15_milli: load averages times 1,000.
        memory_total_bytes, memory_available_bytes: of physical memory.
        swap_total_bytes, swap_free_bytes: of swap.
        processes_total, processes_running, processes_zombie: counts.
        top_processes: those with the most memory, at most 20.
        kernel_running: the kernel's version.
        kernel_installed: the newest kernel on disk, None when it cannot be told.
        virtualization: what it runs on or in, such as ``kvm`` or ``lxc``; None when it cannot be told.
        reboot_required: whether it waits for a restart.
        reboot_reasons: packages that asked for it.
        services_to_restart: services that still run code that was replaced; None when it cannot be told.
    """

    type: Literal["system"] = "system"
    collected_at: Timestamp
    uptime_s: Count | None
    cpu_count: Count | None
    cpu_model: Line
    load1_milli: Count | None
    load5_milli: Count | None
    load15_milli: Count | None
    memory_total_bytes: Count | None
    memory_available_bytes: Count | None
    swap_total_bytes: Count | None
    swap_free_bytes: Count | None
    processes_total: Count | None
    processes_running: Count | None
    processes_zombie: Count | None
    top_processes: list[Process] = Field(max_length=limits.TOP_PROCESSES_MAX)
    kernel_running: Name
    kernel_installed: Name | None
    virtualization: Name | None
    reboot_required: bool
    reboot_reasons: list[Line] = Field(max_length=limits.PROBLEMS_MAX)
    services_to_restart: list[Line] | None = Field(max_length=limits.PROBLEMS_MAX)


class Volume(WireModel):
    """One mounted file system.

    Attributes:
        mount: where.
        device: what; may be empty.
        fstype: its type.
        total_bytes, used_bytes, available_bytes: its space; ``available`` is what is left for ordinary users.
        inodes_total, inodes_used: None where the file system counts none.
        read_only: whether nothing can be written.
    """

    mount: Line
    device: Line
    fstype: Name
    total_bytes: Count
    used_bytes: Count
    available_bytes: Count
    inodes_total: Count | None
    inodes_used: Count | None
    read_only: bool


class Disk(WireModel):
    """One physical disk, where the host may ask it.

    Attributes:
        device: its name.
        model: as it names itself; may be empty.
        size_bytes: None when not known.
        health: the disk's own verdict.
        temperature_celsius: None when not known.
        power_on_hours: None when not known.
    """

    device: Line
    model: Line
    size_bytes: Count | None
    health: Literal["passed", "failed", "unknown"]
    temperature_celsius: Integer | None
    power_on_hours: Count | None


class Storage(WireModel):
    """A host's volumes and disks.

    Attributes:
        collected_at: when, by the host.
        volumes: at most 256.
        disks: at most 256; empty when none can be asked.
        problems: what hindered the look, for people.
    """

    type: Literal["storage"] = "storage"
    collected_at: Timestamp
    volumes: list[Volume] = Field(max_length=limits.VOLUMES_MAX)
    disks: list[Disk] = Field(max_length=limits.VOLUMES_MAX)
    problems: list[Line] = Field(default_factory=list, max_length=limits.PROBLEMS_MAX)
