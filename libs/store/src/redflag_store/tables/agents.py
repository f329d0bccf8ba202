"""Hosts and how they prove who they are: agents, their keys, their access generations.

Public keys and hashes of secrets only; no secret of a host is ever stored. Times with the prefix `agent_` and
ages come from the host, all others are the server's.
"""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from redflag_store.states import AgentState, GenerationState, KeyRole
from redflag_store.tables.columns import (
    BigCount,
    Flag,
    JsonList,
    JsonObject,
    MaybeBig,
    MaybeStr,
    MaybeTime,
    RawBytes,
    Str,
    Time,
    one_of,
)

SUBSYSTEMS_MARK_SQL = "md5(state || ' ' || coalesce(agent_version, '') || ' ' || capabilities::text)"
"""Of what decides which subsystems a host has and whether they run."""
SUBSYSTEMS_STALE_SQL = f"subsystems_mark IS DISTINCT FROM {SUBSYSTEMS_MARK_SQL}"
"""The predicate of a partial index; queries must repeat it word by word."""


class Agent(SQLModel, table=True):
    """One host. Rows are never deleted: history and signatures refer to them."""

    __tablename__: ClassVar[str] = "agent"
    __table_args__ = (
        one_of("state", AgentState),
        UniqueConstraint("akt"),
        Index("ix_agent_hostname_id", "hostname", "id"),
        Index("ix_agent_hostname_lower", text("lower(hostname)")),
        Index("ix_agent_tags", "tags", postgresql_using="gin"),
        Index("ix_agent_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_agent_fast", "fast_until", postgresql_where=text("fast_forever OR fast_until IS NOT NULL")),
        Index("ix_agent_subsystems_stale", "id", postgresql_where=text(SUBSYSTEMS_STALE_SQL)),
    )

    id: UUID = Field(primary_key=True)
    hostname: Str
    machine_id: Str  # 64 hex digits, hashed by the host; a hint for clones, never proof
    state: Str = AgentState.PENDING
    akt: Str  # RFC 7638 thumbprint of the agent key in use
    parent_id: UUID | None = Field(default=None, foreign_key="agent.id")  # the hypervisor or container host
    os_id: MaybeStr = None
    os_name: MaybeStr = None
    os_version: MaybeStr = None
    arch: MaybeStr = None
    kernel: MaybeStr = None
    agent_version: MaybeStr = None
    boot_id: MaybeStr = None
    capabilities: JsonList = []  # list of {manager, can_install, reason}; copied per row
    tags: JsonObject = {}  # name -> text; copied per row
    created_at: Time
    last_seen_at: MaybeTime = None  # last poll, report or enrolment
    last_report_at: MaybeTime = None  # last stored report
    last_rseq: BigCount = 0  # highest contiguous report number stored
    last_seq: BigCount = 0  # last command number given out
    seq_floor: BigCount = 0  # highest command number the host ever pruned, as it reported
    reboot_required: Flag = False
    inventory_at: MaybeTime = None  # when the last inventory was stored
    inventory_source_age_s: MaybeBig = None  # seconds: age of the package lists behind it, by the host's word
    token_id: str | None = Field(default=None, sa_type=Text, foreign_key="enrollment_token.id")
    fast_until: MaybeTime = None  # end of fast mode by the host's word; null: off, or until stopped
    fast_forever: Flag = False  # fast mode until stopped
    subsystems_mark: MaybeStr = None  # `SUBSYSTEMS_MARK_SQL` when the scheduler last took the host in


class AgentKey(SQLModel, table=True):
    """A public key of a host. Retired ones stay, so that old reports can still be verified."""

    __tablename__: ClassVar[str] = "agent_key"
    __table_args__ = (
        one_of("role", KeyRole),
        CheckConstraint("octet_length(pub) = 32", name="pub_length"),
        UniqueConstraint("thumbprint"),
        # One key of each role in use at a time.
        Index(
            "uq_agent_key_in_use",
            "agent_id",
            "role",
            unique=True,
            postgresql_where=text("retired_at IS NULL"),
        ),
    )

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    role: str = Field(primary_key=True, sa_type=Text)
    thumbprint: str = Field(primary_key=True, sa_type=Text)
    pub: RawBytes  # 32 bytes, raw Ed25519
    keyid: Str  # "ed25519:<hex sha256>", docs/protocol.md 2
    created_at: Time
    retired_at: MaybeTime = None


class AccessGeneration(SQLModel, table=True):
    """One renewal secret of an agent, as a hash; docs/protocol.md 8.4."""

    __tablename__: ClassVar[str] = "access_generation"
    __table_args__ = (
        one_of("state", GenerationState),
        CheckConstraint("octet_length(secret_sha256) = 32", name="secret_length"),
        CheckConstraint("gen >= 1", name="gen"),
        Index(
            "uq_access_generation_current",
            "agent_id",
            unique=True,
            postgresql_where=text("state = 'current'"),
        ),
        Index(
            "uq_access_generation_issued", "agent_id", unique=True, postgresql_where=text("state = 'issued'")
        ),
    )

    agent_id: UUID = Field(primary_key=True, foreign_key="agent.id")
    gen: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    secret_sha256: RawBytes
    state: Str = GenerationState.ISSUED
    issued_at: Time
    confirmed_at: MaybeTime = None
    ended_at: MaybeTime = None
    last_used_at: MaybeTime = None
