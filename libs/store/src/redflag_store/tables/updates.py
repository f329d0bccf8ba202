"""Available updates: what is known now, what happened, what was approved, planned and installed."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import Index, Text, text
from sqlmodel import Field, SQLModel

from redflag_store.states import Availability, PackageUpdateState, UpdateEventKind, UpdateSeverity
from redflag_store.tables.columns import (
    TIMESTAMPTZ,
    Count,
    Flag,
    JsonObject,
    MaybeBig,
    MaybeStr,
    MaybeTime,
    RawBytes,
    Str,
    Time,
    one_of,
)


class UpdateEvent(SQLModel, table=True):
    """One thing that happened to one available update; immutable, partitioned by month of `at`."""

    __tablename__: ClassVar[str] = "update_event"
    __table_args__ = (
        one_of("kind", UpdateEventKind),
        Index("ix_update_event_agent_id_at", "agent_id", "at"),
        Index("ix_update_event_package", "agent_id", "name", "at"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: UUID = Field(primary_key=True)
    at: datetime = Field(primary_key=True, sa_type=TIMESTAMPTZ)
    agent_id: UUID = Field(foreign_key="agent.id")
    manager: Str
    name: Str
    arch: Str
    kind: Str
    from_version: MaybeStr = None
    to_version: MaybeStr = None
    detail: JsonObject = {}  # copied per row
    command_id: UUID | None = None


class PackageState(SQLModel, table=True):
    """The available update of one package on one host, and how far it has come."""

    __tablename__: ClassVar[str] = "package_state"
    __table_args__ = (
        one_of("state", PackageUpdateState),
        one_of("availability", Availability),
        one_of("severity", UpdateSeverity),
        # The order of every list; the tallies say which packages have rows that match.
        Index(
            "ix_package_state_listed",
            "name",
            "manager",
            "arch",
            "agent_id",
            postgresql_where=text("state <> 'updated'"),
        ),
        Index("ix_package_state_by_state", "state", "name", "manager", "arch", "agent_id"),
        Index("ix_package_state_command_id", "command_id", postgresql_where=text("command_id IS NOT NULL")),
    )

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    manager: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(primary_key=True, sa_type=Text)
    arch: str = Field(primary_key=True, sa_type=Text)
    installed: MaybeStr = None
    candidate: MaybeStr = None
    origin: MaybeStr = None
    site: MaybeStr = None  # host it would be fetched from
    trusted: bool | None = None  # the manager verified the source's signature; null when it cannot say
    suite: MaybeStr = None
    security: Flag = False
    severity: MaybeStr = None
    availability: Str = Availability.AVAILABLE
    reason: MaybeStr = None  # why it is not simply available, by the host's word
    phased_percent: int | None = None  # share of all machines that get it now
    size: MaybeBig = None  # bytes to download
    state: Str = PackageUpdateState.PENDING
    approved_version: MaybeStr = None  # an approval lapses when the candidate is another one
    command_id: UUID | None = Field(default=None, foreign_key="command.id")
    first_seen_at: Time
    changed_at: Time


class UpdateHistory(SQLModel, table=True):
    """One package change an install really made, with the host's own times beside the server's."""

    __tablename__: ClassVar[str] = "update_history"
    __table_args__ = (
        Index("ix_update_history_recent", text("stored_at DESC"), text("id DESC")),
        Index("ix_update_history_agent_recent", "agent_id", text("stored_at DESC"), text("id DESC")),
        Index("ix_update_history_package", "agent_id", "name", text("stored_at DESC"), text("id DESC")),
    )

    id: UUID = Field(primary_key=True)
    agent_id: UUID = Field(foreign_key="agent.id")
    command_id: UUID | None = Field(default=None, foreign_key="command.id", index=True)
    manager: Str
    name: Str
    arch: Str
    old_version: MaybeStr = None
    new_version: MaybeStr = None
    action: Str
    result: Str
    agent_started_at: MaybeTime = None
    agent_finished_at: MaybeTime = None
    stored_at: Time


class UpdatePlan(SQLModel, table=True):
    """A dry run's exact plan, as the host wrote it; `digest` is over these bytes."""

    __tablename__: ClassVar[str] = "update_plan"
    __table_args__ = (
        Index("ix_update_plan_agent_recent", "agent_id", text("created_at DESC"), text("id DESC")),
        Index("ix_update_plan_agent_digest", "agent_id", "digest"),
    )

    id: UUID = Field(primary_key=True)
    agent_id: UUID = Field(foreign_key="agent.id")
    command_id: UUID = Field(foreign_key="command.id", index=True)
    manager: Str
    mode: str = Field(
        default="packages", sa_type=Text, sa_column_kwargs={"server_default": text("'packages'")}
    )
    digest: Str
    plan: RawBytes
    request: JsonObject = {}  # copied per row
    item_count: Count = 0
    extra_count: Count = 0  # items beyond those asked for
    removes: Count = 0
    created_at: Time
    confirmed_at: MaybeTime = None
    confirmed_by: MaybeStr = None
    confirm_intent_id: UUID | None = Field(default=None, foreign_key="intent.id")


class Approval(SQLModel, table=True):
    """An operator's word for one version of one package on one host; lapses when the candidate changes."""

    __tablename__: ClassVar[str] = "approval"
    __table_args__ = (
        Index(
            "uq_approval_in_force",
            "agent_id",
            "manager",
            "name",
            "arch",
            "version",
            unique=True,
            postgresql_where=text("lapsed_at IS NULL"),
        ),
    )

    id: UUID = Field(primary_key=True)
    agent_id: UUID = Field(foreign_key="agent.id")
    manager: Str
    name: Str
    arch: Str
    version: Str
    operator: Str
    intent_id: UUID = Field(foreign_key="intent.id", index=True)
    at: Time
    lapsed_at: MaybeTime = None
