"""Enrolment tokens."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, Limit, Name, in_words
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.tokens import is_active
from redflag_store.tables import EnrollmentToken

LIFE_DEFAULT_S: Final = 24 * 3600  # seconds, docs/protocol.md 8.1
LIFE_MAX_S: Final = 7 * 24 * 3600  # seconds, docs/protocol.md 8.1
LIFE_MIN_S: Final = 60  # seconds
SEATS_MAX: Final = 10_000
TAGS_MAX: Final = 32

_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")


def _one_line(text: str) -> str:
    if _PRINTABLE.fullmatch(text) is None:
        raise ValueError("holds a control character")
    return text


Note = Annotated[str, StringConstraints(max_length=256), AfterValidator(_one_line)]
_TAG_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
TagName = Annotated[
    str,
    StringConstraints(pattern=_TAG_PATTERN),
    BeforeValidator(
        in_words(_TAG_PATTERN, "a tag's name has 1 to 64 letters, digits and _ . -, first a letter or digit")
    ),
]


class TokensQuery(Strict):
    """What tokens to list."""

    active: bool | None = Field(
        default=None, description="Good now: not expired, not revoked, seats left; or the others"
    )
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class TokenRequest(Strict):
    """A token for hosts that are to join."""

    seats: int = Field(default=1, ge=1, le=SEATS_MAX, description="Hosts it lets in")
    expires_in_s: int = Field(default=LIFE_DEFAULT_S, ge=LIFE_MIN_S, le=LIFE_MAX_S)
    note: Note | None = None
    tags: dict[TagName, Name] = Field(
        default_factory=dict, max_length=TAGS_MAX, description="Given to the hosts that join with it"
    )
    auto_approve: bool = Field(default=True, description="Whether its hosts are active at once")


class Token(BaseModel):
    """An enrolment token; its secret is not kept."""

    id: str
    active: bool
    seats: int
    used: int
    expires_at: datetime
    revoked_at: datetime | None
    created_at: datetime
    created_by: str
    note: str | None
    tags: dict[str, Any]
    auto_approve: bool

    @classmethod
    def of(cls, row: EnrollmentToken, now: datetime) -> Self:
        """The token of a row."""
        return cls(
            id=row.id,
            active=is_active(row, now),
            seats=row.max_seats,
            used=row.used,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            created_at=row.created_at,
            created_by=row.created_by,
            note=row.note,
            tags=row.tags,
            auto_approve=row.auto_approve,
        )


class NewToken(Token):
    """A token just made."""

    token: str | None = Field(
        description="The secret. Shown in this one answer only; null when the request is repeated"
    )
    install: str | None = Field(description="The line to run on the host; holds the secret too")
    intent_id: UUID
