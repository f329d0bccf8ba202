"""What an operator should know about the system itself and its hosts."""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field, SQLModel

from redflag_store.states import Severity
from redflag_store.tables.columns import JsonObject, MaybeStr, MaybeTime, Str, Time, one_of


class SystemEvent(SQLModel, table=True):
    """One noteworthy thing; `code` is a constant snake_case name, the rest is data.

    `at` is its first time; `count` says how often it happened since, and `last_at` when last, where more than once.
    """

    __tablename__: ClassVar[str] = "system_event"
    __table_args__ = (
        one_of("severity", Severity),
        Index("ix_system_event_recent", text("at DESC"), text("id DESC")),
        Index("ix_system_event_severity", "severity", text("at DESC"), text("id DESC")),
        Index("ix_system_event_code", "code", text("at DESC")),
        # The same thing again within a while is one row that counts (`redflag_store.event_folding`).
        Index("uq_system_event_fold", "fold", unique=True, postgresql_where=text("fold IS NOT NULL")),
        Index("ix_system_event_agent_id", "agent_id", "at", postgresql_where=text("agent_id IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    at: Time
    severity: Str
    component: Str
    code: Str
    agent_id: UUID | None = Field(default=None, foreign_key="agent.id")
    message: Str
    data: JsonObject = {}  # of the last time; copied per row
    count: int = Field(default=1, sa_type=BigInteger, sa_column_kwargs={"server_default": text("1")})
    last_at: MaybeTime = None
    fold: MaybeStr = None
