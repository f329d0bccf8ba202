"""API keys: making one, finding one by what a client presents, and when it was last used.

Guarantees: the text of a key (`rfk_` and 52 base32 characters, docs/protocol.md 8.6) is never stored, only its
SHA-256; a key is found by that hash, so that nothing about a wrong key can be learned from how long the search
takes; the key carries 256 random bits, so the hash needs neither salt nor stretching.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.tables import ApiKey
from redflag_wire.clock import Clock
from redflag_wire.ids import new_id

KEY_PREFIX: Final = "rfk_"
KEY_TEXT_MAX: Final = 256  # characters; anything longer is no key and is not hashed
SHOWN_CHARS: Final = 12  # of the text, kept to tell keys apart in lists
LAST_USED_STEP: Final = timedelta(seconds=60)  # how stale `last_used_at` may be; not a write per request
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that was presented and is in force.

    Attributes:
        id: the key's id.
        name: what its maker called it; stands as the operator's name in intents and history.
        scopes: `read`, `write`, `admin`.
        last_used_at: as stored, see `LAST_USED_STEP`.
    """

    id: UUID
    name: str
    scopes: frozenset[str]
    last_used_at: datetime | None


def new_key_text(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Make the text of a new key; it is shown once."""
    secret = base64.b32encode(random(_SECRET_BYTES)).decode("ascii").rstrip("=").lower()
    return KEY_PREFIX + secret


def key_hash(text: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


async def insert_api_key(
    session: AsyncSession, text: str, *, name: str, scopes: Iterable[str], clock: Clock
) -> UUID:
    """Store a key by its hash and return its id; the caller commits."""
    row = ApiKey(
        id=new_id(clock),
        prefix=text[:SHOWN_CHARS],
        hash=key_hash(text),
        name=name,
        scopes=sorted(scopes),
        created_at=clock.now(),
    )
    session.add(row)
    await session.flush()
    return row.id


async def find_api_key(session: AsyncSession, text: str) -> KnownKey | None:
    """The key in force whose text is `text`; None for a wrong, revoked or malformed one."""
    if not text.startswith(KEY_PREFIX) or len(text) > KEY_TEXT_MAX:
        return None
    wanted = key_hash(text)
    statement = select(ApiKey).where(col(ApiKey.hash) == wanted, col(ApiKey.revoked_at).is_(None))
    row = (await session.execute(statement)).scalar_one_or_none()
    if row is None or not hmac.compare_digest(row.hash, wanted):
        return None
    return KnownKey(
        id=row.id, name=row.name, scopes=frozenset(map(str, row.scopes)), last_used_at=row.last_used_at
    )


async def touch_api_key(session: AsyncSession, key: KnownKey, now: datetime) -> bool:
    """Note that `key` was used, at most once per `LAST_USED_STEP`; True when a row was written."""
    if key.last_used_at is not None and now - key.last_used_at < LAST_USED_STEP:
        return False
    await session.execute(update(ApiKey).where(col(ApiKey.id) == key.id).values(last_used_at=now))
    return True
