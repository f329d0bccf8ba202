"""What of each host is looked at, how often, and when next; the rules are `redflag_store.subsystem_rules`.

What an operator set is nullable: null means that the next default holds (a group's, the fleet's, the built-in
one). What the scheduler goes by (`plan_interval_s`, `due_at`, `next_run_at`) is worked out from all of them and
marked with the revision of the defaults it came from, so that a changed default costs one row in the request
that changes it and reaches the hosts in batches.
"""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Integer, Text, text
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import BigCount, Count, Flag, MaybeStr, MaybeTime, Str, Time

DUE_SQL = "GREATEST(next_run_at, held_until)"
"""When the scheduler looks at a row; the expression of the index, which queries must repeat word by word."""


class Subsystem(SQLModel, table=True):
    """One thing of one host that is scanned: a package manager, `system` or `storage`."""

    __tablename__: ClassVar[str] = "subsystem"
    __table_args__ = (
        CheckConstraint("interval_s BETWEEN 60 AND 86400", name="interval_s"),
        CheckConstraint("timeout_s BETWEEN 10 AND 86400", name="timeout_s"),
        Index(
            "ix_subsystem_due", text(DUE_SQL), postgresql_where=text("next_run_at IS NOT NULL AND NOT asleep")
        ),
        Index("ix_subsystem_asleep", "agent_id", postgresql_where=text("asleep")),
        Index("ix_subsystem_planned_rev", "planned_rev"),
    )

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    name: str = Field(primary_key=True, sa_type=Text)
    present: bool = Field(  # whether the host still names it
        default=True, sa_type=Boolean, sa_column_kwargs={"server_default": text("true")}
    )

    # What an operator set for this host; null: the default holds.
    enabled: bool | None = None
    auto_run: bool | None = None
    interval_s: int | None = None
    timeout_s: int | None = None
    breaker_failures: int | None = None
    breaker_window_s: int | None = None
    breaker_open_s: int | None = None
    breaker_half_open: int | None = None
    changed_at: MaybeTime = None
    changed_by: MaybeStr = None

    # What the scheduler works with.
    planned_rev: BigCount = 0  # revision of the defaults behind the plan; 0: to be planned
    plan_interval_s: int = Field(sa_type=Integer)  # seconds, in force
    plan_timeout_s: int = Field(sa_type=Integer)  # seconds, in force
    due_at: MaybeTime = None  # without the wait that spreads; null: does not run by itself
    next_run_at: MaybeTime = None  # with it
    held_until: MaybeTime = None  # due, but not looked at before
    held_for: MaybeStr = None  # why the last look made nothing
    asleep: Flag = False  # due, but not looked at before the host is seen again
    last_command_id: UUID | None = None  # no foreign key: commands are archived
    last_made_at: MaybeTime = None  # when the scheduler last made a command, or found one pending

    # What came of it.
    last_run_at: MaybeTime = None  # the server's time of the host's last result
    last_result: MaybeStr = None
    last_code: MaybeStr = None
    failures: Count = 0  # in a row


class SubsystemDefault(SQLModel, table=True):
    """Values for all hosts (no group) or for a group's hosts, where the host's own row says nothing."""

    __tablename__: ClassVar[str] = "subsystem_default"
    __table_args__ = (
        CheckConstraint("interval_s BETWEEN 60 AND 86400", name="interval_s"),
        CheckConstraint("timeout_s BETWEEN 10 AND 86400", name="timeout_s"),
        CheckConstraint("priority BETWEEN 0 AND 1000", name="priority"),
        Index("uq_subsystem_default_fleet", "name", unique=True, postgresql_where=text("group_id IS NULL")),
        Index(
            "uq_subsystem_default_group",
            "group_id",
            "name",
            unique=True,
            postgresql_where=text("group_id IS NOT NULL"),
        ),
    )

    id: UUID = Field(primary_key=True)
    name: Str
    group_id: UUID | None = Field(default=None, foreign_key="agent_group.id", ondelete="CASCADE")
    priority: int = Field(
        default=100, sa_type=Integer, sa_column_kwargs={"server_default": text("100")}
    )  # of several groups the highest wins
    enabled: bool | None = None
    auto_run: bool | None = None
    interval_s: int | None = None
    timeout_s: int | None = None
    breaker_failures: int | None = None
    breaker_window_s: int | None = None
    breaker_open_s: int | None = None
    breaker_half_open: int | None = None
    changed_at: Time
    changed_by: Str


class SubsystemRevision(SQLModel, table=True):
    """One row: counts the changes of defaults."""

    __tablename__: ClassVar[str] = "subsystem_revision"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    revision: int = Field(default=1, sa_type=BigInteger, sa_column_kwargs={"server_default": text("1")})
