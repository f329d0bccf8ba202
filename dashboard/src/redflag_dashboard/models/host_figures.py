"""How a host is doing: now, its volumes and disks, and over time. All by the host's own word."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from redflag_dashboard.rest.route import Strict
from redflag_store.queries.host_figures import SYSTEM_FIGURES, VOLUME_FIGURES, MetricPoint
from redflag_store.tables import HostStorage, HostSystem, StorageVolume

STEP_MIN_S: Final = 60
STEP_MAX_S: Final = 7 * 86_400


class System(BaseModel):
    """The newest look at a host; null where it cannot be told."""

    host_id: UUID
    hostname: str
    collected_at: datetime = Field(description="By the host's own clock")
    stored_at: datetime
    uptime_s: int | None
    cpu_count: int | None
    cpu_model: str
    load1_milli: int | None = Field(description="Load average times 1,000")
    load5_milli: int | None
    load15_milli: int | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None
    processes_total: int | None
    processes_running: int | None
    processes_zombie: int | None
    top_processes: list[dict[str, Any]] = Field(description="pid, name, rss_bytes, cpu_ms")
    kernel_running: str
    kernel_installed: str | None
    virtualization: str | None
    reboot_required: bool
    reboot_reasons: list[str]
    services_to_restart: list[str] | None

    @classmethod
    def of(cls, hostname: str, row: HostSystem) -> Self:
        """The look of a row."""
        figures = {name: getattr(row, name) for name in SYSTEM_FIGURES}
        return cls(
            host_id=row.agent_id,
            hostname=hostname,
            collected_at=row.collected_at,
            stored_at=row.stored_at,
            **figures,
        )


class Volume(BaseModel):
    """One mounted file system."""

    mount: str
    device: str
    fstype: str
    total_bytes: int
    used_bytes: int
    available_bytes: int
    used_percent: int | None = Field(
        description="Of what ordinary users may fill, rounded up, as df shows it"
    )
    inodes_total: int | None
    inodes_used: int | None
    read_only: bool

    @classmethod
    def of(cls, row: StorageVolume) -> Self:
        """The volume of a row."""
        room = row.used_bytes + row.available_bytes
        percent = None if room == 0 else min(100, -(-100 * row.used_bytes // room))
        return cls(used_percent=percent, **{name: getattr(row, name) for name in VOLUME_FIGURES})


class Storage(BaseModel):
    """A host's volumes and disks."""

    host_id: UUID
    hostname: str
    collected_at: datetime = Field(description="By the host's own clock")
    stored_at: datetime
    volumes: list[Volume]
    disks: list[dict[str, Any]] = Field(
        description="device, model, size_bytes, health, temperature_celsius, ..."
    )
    problems: list[str]

    @classmethod
    def of(cls, hostname: str, row: HostStorage, volumes: Sequence[StorageVolume]) -> Self:
        """The look of rows."""
        return cls(
            host_id=row.agent_id,
            hostname=hostname,
            collected_at=row.collected_at,
            stored_at=row.stored_at,
            volumes=[Volume.of(one) for one in volumes],
            disks=row.disks,
            problems=row.problems,
        )


class MetricsQuery(Strict):
    """Which part of the history."""

    since: AwareDatetime | None = Field(default=None, description="Default: 24 hours before `until`")
    until: AwareDatetime | None = Field(default=None, description="Default: now")
    step: int | None = Field(
        default=None,
        ge=STEP_MIN_S,
        le=STEP_MAX_S,
        description="Seconds one point stands for; default: so that there are some 300. At most 1,000 points",
    )


class MetricsPoint(BaseModel):
    """One step of time: averages, and the fullest volume at its worst."""

    at: datetime = Field(description="When the step begins")
    load1_milli: int | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None
    processes_total: int | None
    fullest_mount: str | None
    fullest_percent: int | None
    samples: int = Field(description="Looks it is made of")

    @classmethod
    def of(cls, point: MetricPoint) -> Self:
        """The point of a row."""
        return cls(**{name: getattr(point, name) for name in MetricPoint.__slots__})


class Metrics(BaseModel):
    """A host's history."""

    host_id: UUID
    hostname: str
    since: datetime
    until: datetime
    step_s: int
    points: list[MetricsPoint] = Field(description="Oldest first; steps without a look are left out")
