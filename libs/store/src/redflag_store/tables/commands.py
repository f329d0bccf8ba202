"""Commands, every move they made, and the outbox that brings them to the broker.

The legal moves are `redflag_store.command_states`; the database guards what must hold against races: one
pending command per agent and dedupe key, one command per agent and sequence number, a manual command never
without an intent.
"""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from redflag_store.command_states import END_STATES, ServerState
from redflag_store.states import CommandSource
from redflag_store.tables.columns import (
    Count,
    Flag,
    JsonObject,
    MaybeBig,
    MaybeBytes,
    MaybeJson,
    MaybeStr,
    MaybeTime,
    Str,
    Time,
    one_of,
)

PENDING_SQL = "state NOT IN (" + ", ".join(f"'{state}'" for state in sorted(END_STATES)) + ")"
"""The predicate of the partial indexes over pending commands; ON CONFLICT must repeat it word by word."""


class Command(SQLModel, table=True):
    """One order to one host. Its signed bytes, once made, never change."""

    __tablename__: ClassVar[str] = "command"
    __table_args__ = (
        one_of("state", ServerState),
        one_of("source", CommandSource),
        CheckConstraint("source = 'system' OR intent_id IS NOT NULL", name="manual_has_intent"),
        # Only a cancel ends by the server's own hand, and what was never signed ends without bytes.
        CheckConstraint(
            "envelope IS NOT NULL OR state IN ('requested', 'cancelled', 'expired') "
            "OR (kind = 'cancel' AND state IN ('succeeded', 'failed'))",
            name="signed_has_envelope",
        ),
        UniqueConstraint("agent_id", "seq"),
        Index("uq_command_dedupe", "agent_id", "dedupe_key", unique=True, postgresql_where=text(PENDING_SQL)),
        Index("ix_command_pending", "agent_id", "state", postgresql_where=text(PENDING_SQL)),
        Index("ix_command_requested", "kind", "source", "id", postgresql_where=text("state = 'requested'")),
        Index("ix_command_exp", "exp", postgresql_where=text(PENDING_SQL)),
        Index("ix_command_recent", text("requested_at DESC"), text("id DESC")),
        Index("ix_command_state_recent", "state", text("requested_at DESC"), text("id DESC")),
        Index("ix_command_agent_recent", "agent_id", text("requested_at DESC"), text("id DESC")),
        Index("ix_command_op", "op", postgresql_where=text("op IS NOT NULL")),
        Index("uq_command_retry_of", "retry_of", unique=True, postgresql_where=text("retry_of IS NOT NULL")),
        Index("ix_command_prev", "prev", postgresql_where=text("prev IS NOT NULL")),
        Index("ix_command_begun", "started_at", postgresql_where=text("state IN ('running', 'cancelling')")),
        Index(
            "ix_command_handed_out",
            "last_delivery_at",
            postgresql_where=text("state = 'queued' AND last_delivery_at IS NOT NULL"),
        ),
        Index("ix_command_finished_at", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    agent_id: UUID = Field(foreign_key="agent.id")
    op: UUID | None = None  # correlation id of the operation it belongs to
    wave: int | None = None
    kind: Str  # a kind of docs/protocol.md 3; not constrained here, so that old and new programs can meet
    params: JsonObject = {}  # copied per row
    state: str = Field(
        default=ServerState.REQUESTED, sa_type=Text, sa_column_kwargs={"server_default": text("'requested'")}
    )
    result: MaybeStr = None  # the result of the work, apart from the state
    source: str = Field(
        default=CommandSource.MANUAL, sa_type=Text, sa_column_kwargs={"server_default": text("'manual'")}
    )
    intent_id: UUID | None = Field(default=None, foreign_key="intent.id", index=True)
    retry_of: UUID | None = Field(default=None, foreign_key="command.id")
    retry_depth: Count = 0  # how many retries lead here
    prev: UUID | None = Field(default=None, foreign_key="command.id")  # the expired one this replaces
    dedupe_key: MaybeStr = None  # at most one pending command of this key per agent; null: no limit
    seq: MaybeBig = None  # docs/protocol.md 3
    envelope: MaybeBytes = None
    digest: MaybeStr = None  # "sha256:<hex>" of the payload bytes
    requested_by: Str
    requested_at: Time
    signed_at: MaybeTime = None
    queued_at: MaybeTime = None
    delivered_at: MaybeTime = None
    started_at: MaybeTime = None
    finished_at: MaybeTime = None
    agent_started_at: MaybeTime = None
    agent_finished_at: MaybeTime = None
    nbf: MaybeTime = None
    exp: MaybeTime = None
    max_runtime_s: int | None = None  # seconds the host may let it run, as signed
    deliveries: Count = 0
    last_delivery_at: MaybeTime = None
    code: MaybeStr = None  # short snake_case reason of a refusal or failure
    error: MaybeStr = None
    plan_digest: MaybeStr = None
    summary: MaybeJson = None
    exit_code: int | None = None
    stdout: MaybeStr = None
    stderr: MaybeStr = None
    duration_ms: MaybeBig = None


class CommandEvent(SQLModel, table=True):
    """One move of a command, or a remark on it (`from_state` = `to_state`). Append-only by grant."""

    __tablename__: ClassVar[str] = "command_event"
    __table_args__ = (Index("ix_command_event_command_id_at", "command_id", "at", "id"),)

    id: UUID = Field(primary_key=True)
    command_id: UUID = Field(foreign_key="command.id")
    at: Time
    agent_at: MaybeTime = None
    from_state: MaybeStr = None  # null: the command was created
    to_state: Str
    cause: Str
    detail: JsonObject = {}  # copied per row


class Outbox(SQLModel, table=True):
    """What the relay still has to publish, or has published and the reconciler watches."""

    __tablename__: ClassVar[str] = "outbox"
    __table_args__ = (
        CheckConstraint("n >= 1", name="n"),
        Index("ix_outbox_due", text("urgent DESC"), "due_at", postgresql_where=text("published_at IS NULL")),
        Index("ix_outbox_published", "published_at", postgresql_where=text("published_at IS NOT NULL")),
    )

    command_id: UUID = Field(primary_key=True, foreign_key="command.id")
    agent_id: UUID = Field(foreign_key="agent.id", index=True)
    shard: int
    n: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})  # publish number
    urgent: Flag = False  # goes out before what is not
    due_at: Time
    claimed_until: MaybeTime = None
    published_at: MaybeTime = None
    stream_created_at: MaybeTime = None  # tells streams of the same name apart after a wiped store
    stream_seq: MaybeBig = None
    attempts: Count = 0
    last_error: MaybeStr = None
