"""How hosts are doing, by their own word: now (`host_system`, `storage_volume`), and over time (`host_metric`).

`collected_at` is the host's time, `stored_at` the server's.
"""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from sqlalchemy import Boolean, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import TIMESTAMPTZ, BigCount, Flag, JsonList, MaybeBig, MaybeStr, Str, Time

_MaybeInt = Annotated[int | None, Field(sa_type=Integer)]
_MaybeList = Annotated[list[str] | None, Field(sa_type=JSONB(none_as_null=True))]


class HostSystem(SQLModel, table=True):
    """The newest look at a host; see `redflag_wire.system_bodies.System` for the figures."""

    __tablename__: ClassVar[str] = "host_system"

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    collected_at: Time
    stored_at: Time
    uptime_s: MaybeBig = None
    cpu_count: MaybeBig = None
    cpu_model: Str = ""
    load1_milli: MaybeBig = None
    load5_milli: MaybeBig = None
    load15_milli: MaybeBig = None
    memory_total_bytes: MaybeBig = None
    memory_available_bytes: MaybeBig = None
    swap_total_bytes: MaybeBig = None
    swap_free_bytes: MaybeBig = None
    processes_total: MaybeBig = None
    processes_running: MaybeBig = None
    processes_zombie: MaybeBig = None
    top_processes: JsonList = []  # list of {pid, name, rss_bytes, cpu_ms}; copied per row
    kernel_running: Str
    kernel_installed: MaybeStr = None
    virtualization: MaybeStr = None
    reboot_required: Flag = False
    reboot_reasons: JsonList = []  # list of text; copied per row
    services_to_restart: _MaybeList = None  # None when the host cannot tell


class HostStorage(SQLModel, table=True):
    """The newest look at a host's disks; its volumes are rows of `storage_volume`."""

    __tablename__: ClassVar[str] = "host_storage"

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    collected_at: Time
    stored_at: Time
    disks: JsonList = []  # list of {device, model, size_bytes, health, ...}; copied per row
    problems: JsonList = []  # list of text; copied per row


class StorageVolume(SQLModel, table=True):
    """One mounted file system of a host, as of its newest look."""

    __tablename__: ClassVar[str] = "storage_volume"

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    mount: str = Field(primary_key=True, sa_type=Text)
    device: Str = ""
    fstype: Str
    total_bytes: BigCount
    used_bytes: BigCount
    available_bytes: BigCount
    inodes_total: MaybeBig = None
    inodes_used: MaybeBig = None
    read_only: bool = Field(
        default=False, sa_type=Boolean, sa_column_kwargs={"server_default": text("false")}
    )


class HostMetric(SQLModel, table=True):
    """Figures of a host at one time; partitioned by week of `at`, so that old ones go by dropping a table.

    `at` is the host's time where it is believable, else the server's: a clock that is wrong must not write into
    another year.
    """

    __tablename__: ClassVar[str] = "host_metric"
    __table_args__ = ({"postgresql_partition_by": "RANGE (at)"},)

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    at: datetime = Field(primary_key=True, sa_type=TIMESTAMPTZ)
    load1_milli: MaybeBig = None
    memory_total_bytes: MaybeBig = None
    memory_available_bytes: MaybeBig = None
    swap_total_bytes: MaybeBig = None
    swap_free_bytes: MaybeBig = None
    processes_total: MaybeBig = None
    fullest_mount: MaybeStr = None  # the volume with the least room, in percent
    fullest_percent: _MaybeInt = None
