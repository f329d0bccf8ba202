"""What trust rests on: enrolment tokens and seats, the key manifest chain, the signing log, intents, API keys.

Envelopes are stored as the bytes that were signed and are never written again. The signing log is append-only
by grant: no role but the owner may change or delete a row.
"""

from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import (
    Count,
    Flag,
    JsonList,
    JsonObject,
    MaybeJson,
    MaybeStr,
    MaybeTime,
    RawBytes,
    Str,
    Time,
)


class EnrollmentToken(SQLModel, table=True):
    """The public half of an enrolment token; the seed is shown once and never stored."""

    __tablename__: ClassVar[str] = "enrollment_token"
    __table_args__ = (
        CheckConstraint("octet_length(pub) = 32", name="pub_length"),
        CheckConstraint("max_seats >= 1", name="max_seats"),
        CheckConstraint("used >= 0 AND used <= max_seats", name="used"),
        Index("ix_enrollment_token_created_at_id", "created_at", "id"),
    )

    id: str = Field(primary_key=True, sa_type=Text)  # the <id10> of docs/protocol.md 8.1
    pub: RawBytes
    max_seats: int = 1
    used: Count = 0
    expires_at: Time
    tags: JsonObject = {}  # given to the agents it enrols; copied per row
    auto_approve: Flag = False
    created_by: Str
    created_at: Time
    revoked_at: MaybeTime = None
    note: MaybeStr = None


class Enrolment(SQLModel, table=True):
    """One seat taken. The key (token, agent key) makes a retried enrolment free."""

    __tablename__: ClassVar[str] = "enrolment"
    __table_args__ = (CheckConstraint("octet_length(agent_pub) = 32", name="agent_pub_length"),)

    token_id: str = Field(primary_key=True, sa_type=Text, foreign_key="enrollment_token.id")
    agent_pub: bytes = Field(primary_key=True)
    agent_id: UUID = Field(foreign_key="agent.id", index=True)
    at: Time


class KeyManifest(SQLModel, table=True):
    """One link of the manifest chain, docs/protocol.md 4; versions start at 1 and have no gap."""

    __tablename__: ClassVar[str] = "key_manifest"
    __table_args__ = (CheckConstraint("version >= 1", name="version"),)

    version: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    envelope: RawBytes
    created_at: Time


class SigningLog(SQLModel, table=True):
    """Every command signature ever made. One command has one byte string, so one row."""

    __tablename__: ClassVar[str] = "signing_log"
    __table_args__ = (UniqueConstraint("command_id"), Index("ix_signing_log_agent_id_at", "agent_id", "at"))

    id: UUID = Field(primary_key=True)
    command_id: UUID = Field(foreign_key="command.id")
    agent_id: UUID = Field(foreign_key="agent.id")
    digest: Str  # "sha256:<hex>" of the payload bytes
    keyid: Str
    at: Time


class Intent(SQLModel, table=True):
    """What an operator asked for, signed by the API; docs/protocol.md 6."""

    __tablename__: ClassVar[str] = "intent"
    __table_args__ = (Index("ix_intent_at_id", "at", "id"),)

    id: UUID = Field(primary_key=True)
    envelope: RawBytes
    digest: Str
    verb: Str
    operator: Str
    correlation_id: UUID = Field(index=True)
    at: Time


class ApiKey(SQLModel, table=True):
    """An operator's API key: a prefix to find it by and a hash; the key itself is shown once."""

    __tablename__: ClassVar[str] = "api_key"
    __table_args__ = (UniqueConstraint("prefix"),)

    id: UUID = Field(primary_key=True)
    prefix: Str
    hash: RawBytes
    name: Str
    scopes: JsonList = []  # copied per row
    created_at: Time
    last_used_at: MaybeTime = None
    revoked_at: MaybeTime = None


class IdempotencyKey(SQLModel, table=True):
    """A remembered answer to a request that carried `Idempotency-Key`; status is null while it is in flight."""

    __tablename__: ClassVar[str] = "idempotency_key"
    __table_args__ = (Index("ix_idempotency_key_created_at", "created_at"),)

    operator: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    request_digest: Str
    status: int | None = None  # the HTTP status answered
    response: MaybeJson = None
    created_at: Time
