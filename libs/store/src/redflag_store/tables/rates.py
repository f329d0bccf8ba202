"""Where rate limits stand: one moment each, `redflag_store.gcra`. Kept here, so that they hold across restarts."""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import Time


class AgentRate(SQLModel, table=True):
    """What one host was asked for. Changed under the lock of the agent's row."""

    __tablename__: ClassVar[str] = "agent_rate"

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    tat: Time


class FleetRate(SQLModel, table=True):
    """What was signed in the whole fleet, of one kind or (`fleet`) of all. The dispatcher's alone."""

    __tablename__: ClassVar[str] = "fleet_rate"

    key: str = Field(primary_key=True, sa_type=Text)
    tat: Time
