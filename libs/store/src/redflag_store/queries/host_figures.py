"""The figures of hosts: stored as they come, read as they are now and over time.

Guarantees: a look never replaces a newer one; the volumes of a host are those of its newest look, no others; a
history has at most as many points as asked for, made smaller by the database; old weeks go by dropping their table.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.engine import driver_connection
from redflag_store.tables import HostStorage, HostSystem, StorageVolume

POINTS_MAX: Final = 1_000  # of one answer
WEEKS_AHEAD: Final = 3  # weeks, this one included, that are kept ready; the database refuses more than 12

SYSTEM_FIGURES: Final = (
    "uptime_s", "cpu_count", "cpu_model", "load1_milli", "load5_milli", "load15_milli", "memory_total_bytes",
    "memory_available_bytes", "swap_total_bytes", "swap_free_bytes", "processes_total", "processes_running",
    "processes_zombie", "top_processes", "kernel_running", "kernel_installed", "virtualization", "reboot_required",
    "reboot_reasons", "services_to_restart",
)  # fmt: skip
"""Columns of `host_system` that are members of the body of the same name."""

VOLUME_FIGURES: Final = (
    "mount", "device", "fstype", "total_bytes", "used_bytes", "available_bytes", "inodes_total", "inodes_used",
    "read_only",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SystemLook:
    """One look at a host; `figures` are those of `SYSTEM_FIGURES` as JSON values."""

    agent_id: UUID
    collected_at: datetime
    stored_at: datetime
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StorageLook:
    """One look at a host's volumes and disks, as JSON values; `volumes` have `VOLUME_FIGURES`."""

    agent_id: UUID
    collected_at: datetime
    stored_at: datetime
    volumes: list[dict[str, Any]]
    disks: list[dict[str, Any]]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """Figures of one host at one time; those that are None leave what is stored for that time."""

    agent_id: UUID
    at: datetime
    load1_milli: int | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    processes_total: int | None = None
    fullest_mount: str | None = None
    fullest_percent: int | None = None


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """The figures of one step of time: averages, the fullest volume at its worst; None where nothing was said."""

    at: datetime
    load1_milli: int | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    swap_total_bytes: int | None
    swap_free_bytes: int | None
    processes_total: int | None
    fullest_mount: str | None
    fullest_percent: int | None
    samples: int


# A look of a clock that ran far ahead gives way to any later one.
_NEWER: Final = (
    "WHERE {table}.collected_at <= EXCLUDED.collected_at"
    " OR {table}.collected_at > {table}.stored_at + interval '1 hour'"
)

_SYSTEM: Final = (  # built from the constants above only
    "WITH stored AS (INSERT INTO host_system (agent_id, collected_at, stored_at, "  # noqa: S608
    + ", ".join(SYSTEM_FIGURES)
    + ") SELECT $1, $2, $3, "
    + ", ".join(f"n.{name}" for name in SYSTEM_FIGURES)
    + " FROM jsonb_populate_record(NULL::host_system, $4::jsonb) AS n ON CONFLICT (agent_id) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in ("collected_at", "stored_at", *SYSTEM_FIGURES))
    + " "
    + _NEWER.format(table="host_system")
    + " RETURNING agent_id, reboot_required) UPDATE agent a SET reboot_required = stored.reboot_required FROM stored "
    "WHERE a.id = stored.agent_id AND a.reboot_required <> stored.reboot_required"
)

_STORAGE: Final = """
INSERT INTO host_storage (agent_id, collected_at, stored_at, disks, problems)
VALUES ($1, $2, $3, $4::jsonb, $5::jsonb)
ON CONFLICT (agent_id) DO UPDATE SET collected_at = EXCLUDED.collected_at, stored_at = EXCLUDED.stored_at,
    disks = EXCLUDED.disks, problems = EXCLUDED.problems
""" + _NEWER.format(table="host_storage") + " RETURNING agent_id"  # fmt: skip

_VOLUMES: Final = (  # built from the constants above only
    "WITH n AS (SELECT * FROM jsonb_populate_recordset(NULL::storage_volume, $2::jsonb)), "  # noqa: S608
    "gone AS (DELETE FROM storage_volume v WHERE v.agent_id = $1 AND v.mount NOT IN (SELECT mount FROM n)) "
    "INSERT INTO storage_volume (agent_id, "
    + ", ".join(VOLUME_FIGURES)
    + ") SELECT $1, "
    + ", ".join(f"n.{name}" for name in VOLUME_FIGURES)
    + " FROM n ON CONFLICT (agent_id, mount) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in VOLUME_FIGURES[1:])
)

_METRIC_FIGURES: Final = (
    ("load1_milli", "bigint"), ("memory_total_bytes", "bigint"), ("memory_available_bytes", "bigint"),
    ("swap_total_bytes", "bigint"), ("swap_free_bytes", "bigint"), ("processes_total", "bigint"),
    ("fullest_mount", "text"), ("fullest_percent", "integer"),
)  # fmt: skip

_METRICS: Final = (  # built from the constant above only
    "INSERT INTO host_metric AS m (agent_id, at, "  # noqa: S608
    + ", ".join(name for name, _ in _METRIC_FIGURES)
    + ") SELECT * FROM unnest($1::uuid[], $2::timestamptz[], "
    + ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(_METRIC_FIGURES, start=3))
    + ") ON CONFLICT (agent_id, at) DO UPDATE SET "
    + ", ".join(f"{name} = coalesce(EXCLUDED.{name}, m.{name})" for name, _ in _METRIC_FIGURES)
)

# One host's rows of the weeks concerned, by the primary key; averages of what was said.
_HISTORY: Final = """
SELECT date_bin(make_interval(secs => :step), at, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS at,
    avg(load1_milli)::bigint AS load1_milli,
    avg(memory_total_bytes)::bigint AS memory_total_bytes,
    avg(memory_available_bytes)::bigint AS memory_available_bytes,
    avg(swap_total_bytes)::bigint AS swap_total_bytes,
    avg(swap_free_bytes)::bigint AS swap_free_bytes,
    avg(processes_total)::bigint AS processes_total,
    (array_agg(fullest_mount ORDER BY fullest_percent DESC NULLS LAST))[1] AS fullest_mount,
    max(fullest_percent) AS fullest_percent,
    count(*)::integer AS samples
FROM host_metric
WHERE agent_id = :agent AND at >= :since AND at < :until
GROUP BY 1 ORDER BY 1 LIMIT :points
"""


async def store_systems(session: AsyncSession, looks: Sequence[SystemLook]) -> None:
    """Store looks at hosts, and whether each waits for a restart with the host itself."""
    if looks:
        connection = await driver_connection(session)
        rows = [(one.agent_id, one.collected_at, one.stored_at, json.dumps(one.figures)) for one in looks]
        await connection.executemany(_SYSTEM, rows)


async def store_storages(session: AsyncSession, looks: Sequence[StorageLook]) -> None:
    """Store looks at hosts' volumes and disks; volumes that are gone go."""
    if not looks:
        return
    connection = await driver_connection(session)
    for one in looks:
        disks, problems = json.dumps(one.disks), json.dumps(one.problems)
        newest = await connection.fetchval(
            _STORAGE, one.agent_id, one.collected_at, one.stored_at, disks, problems
        )
        if newest is not None:
            await connection.execute(_VOLUMES, one.agent_id, json.dumps(one.volumes))


async def store_metrics(session: AsyncSession, rows: Sequence[MetricRow]) -> None:
    """Add to the history; rows of one host and time, at most one of each, are put together."""
    if rows:
        connection = await driver_connection(session)
        names = MetricRow.__slots__
        await connection.execute(_METRICS, *[[getattr(row, name) for row in rows] for name in names])


async def host_system(session: AsyncSession, agent_id: UUID) -> HostSystem | None:
    """The newest look at a host; None when it never came."""
    return await session.get(HostSystem, agent_id)


async def host_storage(
    session: AsyncSession, agent_id: UUID
) -> tuple[HostStorage, Sequence[StorageVolume]] | None:
    """The newest look at a host's disks, and its volumes by mount; None when it never came."""
    storage = await session.get(HostStorage, agent_id)
    if storage is None:
        return None
    statement = select(StorageVolume).where(col(StorageVolume.agent_id) == agent_id)
    return storage, (await session.scalars(statement.order_by(col(StorageVolume.mount)))).all()


async def host_metrics(
    session: AsyncSession, agent_id: UUID, *, since: datetime, until: datetime, step_s: int
) -> list[MetricPoint]:
    """A host's history in steps of `step_s` seconds, oldest first; at most `POINTS_MAX` steps."""
    rows = await session.execute(
        text(_HISTORY),
        {"agent": agent_id, "since": since, "until": until, "step": step_s, "points": POINTS_MAX},
    )
    return [MetricPoint(**row._mapping) for row in rows]


async def keep_weeks(session: AsyncSession, *, today: date, ended_before: datetime) -> tuple[int, int]:
    """Make the coming weeks' tables where missing and drop those that ended before a time: how many of each.

    Args:
        session: of a role that may call the two functions of migration 0009.
        today: the first week that is needed.
        ended_before: at least 20 hours ago, or the database refuses.
    """
    made = await session.scalar(
        text("SELECT redflag_ensure_host_metric_weeks(:today, :weeks)"),
        {"today": today, "weeks": WEEKS_AHEAD},
    )
    dropped = await session.scalar(
        text("SELECT redflag_drop_host_metric_weeks(:before)"), {"before": ended_before}
    )
    return int(made or 0), int(dropped or 0)
