"""Remembered answers to requests that carried an `Idempotency-Key`.

The key is claimed and the answer stored in the transaction of the change itself, so both are there or neither:
a request that failed left no trace and may be sent again. A second request with the same key waits for the
first one's transaction at most as long as the database's lock timeout.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.queries.settings import read_settings
from redflag_store.tables import IdempotencyKey

DELETED_AT_ONCE: Final = 100  # expired keys removed with each new one, so that the table stays bounded


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is stored for a key: digest of the request, and the answer; no status while it is in flight."""

    request_digest: str
    status: int | None
    response: dict[str, Any] | None


async def claim(
    session: AsyncSession, operator: str, key: str, request_digest: str, now: datetime
) -> Remembered | None:
    """Claim a key for this request; None when it is new, else what is stored for it.

    How long an answer is remembered is the setting `retention.idempotency_hours`.
    """
    kept = timedelta(hours=(await read_settings(session)).number("retention.idempotency_hours"))
    old = (
        select(col(IdempotencyKey.operator), col(IdempotencyKey.key))
        .where(col(IdempotencyKey.created_at) < now - kept)
        .limit(DELETED_AT_ONCE)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    await session.execute(
        delete(IdempotencyKey).where(
            col(IdempotencyKey.operator) == old.c.operator, col(IdempotencyKey.key) == old.c.key
        ),
        execution_options={"synchronize_session": False},
    )
    claimed = await session.scalar(
        insert(IdempotencyKey)
        .values(operator=operator, key=key, request_digest=request_digest, created_at=now)
        .on_conflict_do_nothing()
        .returning(col(IdempotencyKey.key))
    )
    if claimed is not None:
        return None
    row = (
        await session.execute(
            select(
                col(IdempotencyKey.request_digest), col(IdempotencyKey.status), col(IdempotencyKey.response)
            ).where(col(IdempotencyKey.operator) == operator, col(IdempotencyKey.key) == key)
        )
    ).one()
    return Remembered(*row)


async def remember(
    session: AsyncSession, operator: str, key: str, status: int, response: dict[str, Any]
) -> None:
    """Store the answer for a claimed key; the caller commits it with the change."""
    await session.execute(
        update(IdempotencyKey)
        .where(col(IdempotencyKey.operator) == operator, col(IdempotencyKey.key) == key)
        .values(status=status, response=response),
        execution_options={"synchronize_session": False},
    )
