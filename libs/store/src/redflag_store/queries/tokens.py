"""Enrolment tokens: making one, and listing them; only public halves are here (docs/protocol.md 8.1)."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.tables import EnrollmentToken


@dataclass(frozen=True, slots=True)
class TokenPage:
    """A page of tokens, newest first; `total` counts all that match, `more` says whether others follow."""

    rows: list[EnrollmentToken]
    total: int
    more: bool


def is_active(token: EnrollmentToken, now: datetime) -> bool:
    """Whether the token lets a host in at `now`: not expired, not revoked, seats left."""
    return token.revoked_at is None and token.expires_at > now and token.used < token.max_seats


def _active(now: datetime) -> ColumnElement[bool]:
    return and_(
        col(EnrollmentToken.revoked_at).is_(None),
        col(EnrollmentToken.expires_at) > now,
        col(EnrollmentToken.used) < col(EnrollmentToken.max_seats),
    )


async def list_tokens(
    session: AsyncSession,
    *,
    now: datetime,
    active: bool | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> TokenPage:
    """A page of tokens, newest first; `active` None lists all, else those that are (or are not) good at `now`."""
    filters = [] if active is None else [_active(now) if active else ~_active(now)]
    total = await session.scalar(select(func.count()).select_from(EnrollmentToken).where(*filters))
    statement = select(EnrollmentToken).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(col(EnrollmentToken.created_at), col(EnrollmentToken.id)) < after)
    statement = statement.order_by(col(EnrollmentToken.created_at).desc(), col(EnrollmentToken.id).desc())
    found = list((await session.scalars(statement.limit(limit + 1))).all())
    return TokenPage(found[:limit], total or 0, len(found) > limit)


async def insert_token(session: AsyncSession, token: EnrollmentToken) -> None:
    """Store a token's public half; the caller commits."""
    session.add(token)
    await session.flush()
