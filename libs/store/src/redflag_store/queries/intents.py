"""Store signed intents; they are written once and never changed."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_wire.clock import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class IntentData:
    """A signed intent as it is stored; `digest` is over the payload bytes, docs/protocol.md 6."""

    id: UUID
    envelope: bytes
    digest: str
    verb: str
    operator: str
    correlation_id: UUID


async def store_intent(session: AsyncSession, clock: Clock, intent: IntentData) -> None:
    """Store `intent`; storing the same id again changes nothing."""
    await session.execute(
        text(
            "INSERT INTO intent (id, envelope, digest, verb, operator, correlation_id, at) "
            "VALUES (:id, :envelope, :digest, :verb, :operator, :correlation_id, :at) ON CONFLICT (id) DO NOTHING"
        ),
        {
            "id": intent.id,
            "envelope": intent.envelope,
            "digest": intent.digest,
            "verb": intent.verb,
            "operator": intent.operator,
            "correlation_id": intent.correlation_id,
            "at": clock.now(),
        },
    )
