"""Static groups of hosts: what an operator put together by hand; filters, settings and roles go by them."""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import Str, Time


class AgentGroup(SQLModel, table=True):
    """One group; its name is unique in any case of letters."""

    __tablename__: ClassVar[str] = "agent_group"
    __table_args__ = (Index("uq_agent_group_name", text("lower(name)"), unique=True),)

    id: UUID = Field(primary_key=True)
    name: Str
    description: Str = ""
    created_at: Time
    created_by: Str


class AgentGroupMember(SQLModel, table=True):
    """A host in a group."""

    __tablename__: ClassVar[str] = "agent_group_member"
    __table_args__ = (Index("ix_agent_group_member_agent_id", "agent_id"),)

    group_id: UUID = Field(primary_key=True, foreign_key="agent_group.id", ondelete="CASCADE")
    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    added_at: Time
    added_by: Str
