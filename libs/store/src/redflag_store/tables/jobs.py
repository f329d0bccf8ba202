"""Jobs: one operation over many hosts, turned into commands by the dispatchers a batch at a time.

The dashboard writes a job and its items; the dispatchers fill in what became of each. An item's command tells its
own story; a job keeps only counts.
"""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from redflag_store.states import JobItemState, JobState
from redflag_store.tables.columns import Count, JsonObject, MaybeJson, MaybeStr, MaybeTime, Str, Time, one_of


class Job(SQLModel, table=True):
    """One operation over many hosts."""

    __tablename__: ClassVar[str] = "job"
    __table_args__ = (
        one_of("state", JobState),
        CheckConstraint("made + refused <= total", name="counts"),
        CheckConstraint(
            "state NOT IN ('cancelling', 'cancelled') OR (cancel_intent_id IS NOT NULL AND cancelled_by IS NOT NULL)",
            name="end_has_intent",
        ),
        Index("ix_job_recent", text("requested_at DESC"), text("id DESC")),
        Index("ix_job_open", "id", postgresql_where=text("state IN ('running', 'cancelling')")),
        Index("ix_job_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    op: UUID  # correlation id of the request that asked for it; its commands carry the same
    verb: Str  # of the signed intents behind it
    kind: Str  # of the commands
    params: JsonObject = {}  # of every item that has none of its own; copied per row
    dedupe_key: MaybeStr = None  # of its commands, where the item has none of its own
    state: str = Field(
        default=JobState.RUNNING, sa_type=Text, sa_column_kwargs={"server_default": text("'running'")}
    )
    requested_by: Str
    requested_at: Time
    total: int  # items
    left_out: MaybeJson = None  # hosts that match and have no item: `count`, the first few as `hosts`
    made: Count = 0  # items that became a command
    refused: Count = 0  # items that became none
    ends: MaybeJson = None  # state -> number of its commands, once the job is over
    cancelled_by: MaybeStr = None
    cancelled_at: MaybeTime = None
    cancel_intent_id: UUID | None = Field(default=None, foreign_key="intent.id")
    finished_at: MaybeTime = None


class JobItem(SQLModel, table=True):
    """One host's part of a job."""

    __tablename__: ClassVar[str] = "job_item"
    __table_args__ = (
        one_of("state", JobItemState),
        CheckConstraint("state <> 'made' OR command_id IS NOT NULL", name="made_has_command"),
        CheckConstraint("state <> 'refused' OR code IS NOT NULL", name="refused_has_code"),
        Index(
            "ix_job_item_waiting",
            "due_at",
            "job_id",
            "position",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_job_item_state", "job_id", "state", "position"),
        Index("ix_job_item_command_id", "command_id", postgresql_where=text("command_id IS NOT NULL")),
    )

    job_id: UUID = Field(primary_key=True, foreign_key="job.id")
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    agent_id: UUID = Field(foreign_key="agent.id")
    intent_id: UUID = Field(foreign_key="intent.id")
    params: MaybeJson = None  # None: those of the job
    dedupe_key: MaybeStr = None  # None: that of the job
    state: str = Field(
        default=JobItemState.WAITING, sa_type=Text, sa_column_kwargs={"server_default": text("'waiting'")}
    )
    due_at: Time  # not tried before
    tries: Count = 0
    command_id: UUID | None = None  # no foreign key: the line stays when the command's own time is over
    code: MaybeStr = None  # why there is no command, or why not yet
    existing_id: UUID | None = None  # the pending command that was there already
    decided_at: MaybeTime = None
    cancel_id: UUID | None = None  # the command that cancels this item's command
    cancel_code: MaybeStr = None  # why there is none
