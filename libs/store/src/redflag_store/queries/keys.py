"""The key manifest chain as the database keeps it: one envelope per version, from 1 without a gap."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.tables.trust import KeyManifest

CHAIN_MAX = 10_000  # versions; far above what rotations ever make


async def manifest_chain(session: AsyncSession, after: int = 0) -> list[tuple[int, bytes]]:
    """Return (version, envelope) of every version above `after`, in order."""
    query = (
        select(col(KeyManifest.version), col(KeyManifest.envelope))
        .where(col(KeyManifest.version) > after)
        .order_by(col(KeyManifest.version))
        .limit(CHAIN_MAX)
    )
    return [(version, bytes(envelope)) for version, envelope in await session.execute(query)]
