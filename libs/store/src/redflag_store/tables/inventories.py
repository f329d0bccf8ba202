"""What is held of each host's inventories, and the counters that spare lists a scan.

The tallies are sums of signed entries: triggers append what each statement changed, readers add up, and a pass folds
the entries together (`redflag_store.queries.tallies`). So nobody waits for anybody's lock on a counter.
"""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, Text
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import Count, Flag, MaybeBig, MaybeStr, MaybeTime, Str, Time

__all__ = ["AgentInventory", "AgentUpdateCount", "Tally", "UpdateTally"]


class AgentInventory(SQLModel, table=True):
    """Which inventory of one package manager of a host is stored; changes build on it (docs/protocol.md 6)."""

    __tablename__: ClassVar[str] = "agent_inventory"

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    manager: str = Field(primary_key=True, sa_type=Text)
    digest: MaybeStr = None  # null: what is stored is not all the host sent, or it keeps no digest
    host_digest: MaybeStr = None  # what the host calls the set it sent last, broken rows of it left out here
    refused_rows: Count = 0  # of the last whole inventory
    rows: Count = 0  # listed by the host, the refused ones left out
    source_age_s: MaybeBig = None
    looked_at: Time  # last time the host looked, whether or not anything was new
    changed_at: Time
    asked_at: MaybeTime = None  # when the whole was asked for last


class AgentUpdateCount(SQLModel, table=True):
    """How many updates of a host still ask for something; kept by triggers, exact."""

    __tablename__: ClassVar[str] = "agent_update_count"

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    open: Count = 0  # not updated, rejected or ignored
    security: Count = 0  # of those
    approved: Count = 0  # of those, approved at the present candidate
    failed: Count = 0
    held_back: Count = 0  # open, and not simply available


class UpdateTally(SQLModel, table=True):
    """Signed entries that add up to how many hosts have an update of these properties."""

    __tablename__: ClassVar[str] = "update_tally"
    __table_args__ = (Index("ix_update_tally_package", "name", "manager", "arch"),)

    id: int = Field(primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(always=True),))
    manager: Str
    name: Str
    arch: Str
    state: Str
    security: Flag
    severity: MaybeStr = None
    availability: Str
    hosts: int = Field(sa_type=BigInteger)


class Tally(SQLModel, table=True):
    """Signed entries that add up to how many rows of a large table have these values.

    `subject` is `command` (a: state, b: kind), `event` (a: severity, b: component) or `hosts_open` (hosts with
    an open update).
    """

    __tablename__: ClassVar[str] = "tally"

    id: int = Field(primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(always=True),))
    subject: Str
    a: Str
    b: Str
    rows: int = Field(sa_type=BigInteger)
