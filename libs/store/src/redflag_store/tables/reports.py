"""Signed reports as they came: stored once, byte for byte, before anything is concluded from them."""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from redflag_store.states import ReportedState
from redflag_store.tables.columns import MaybeBytes, MaybeStr, RawBytes, Str, Time, one_of


class ReportInbox(SQLModel, table=True):
    """One report. Unique by id and by (agent, rseq): a resent one is dropped and confirmed again."""

    __tablename__: ClassVar[str] = "report_inbox"
    __table_args__ = (
        one_of("state", ReportedState),
        UniqueConstraint("agent_id", "rseq"),
        Index("ix_report_inbox_cmd", "cmd", postgresql_where=text("cmd IS NOT NULL")),
        Index("ix_report_inbox_received_at", "received_at"),
    )

    report_id: UUID = Field(primary_key=True)
    agent_id: UUID = Field(foreign_key="agent.id")
    rseq: int = Field(sa_type=BigInteger)
    prev: MaybeStr = None  # digest of the previous report of the same key
    digest: Str  # "sha256:<hex>" of the payload bytes
    kind: Str
    cmd: UUID | None = None  # no foreign key: a host may report a command an older database does not know
    state: MaybeStr = None
    received_at: Time
    envelope: RawBytes
    body: MaybeBytes = None  # compressed as it travelled
