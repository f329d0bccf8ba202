"""Groups of hosts."""

from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Search, in_words
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.groups import GroupRow
from redflag_wire.fields import Line

HOSTS_MAX: Final = 1_000  # hosts put in or taken out at once

NAME_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9 _.-]{0,62}[A-Za-z0-9])?$"
NAME_WORDS: Final = "1 to 64 letters, digits, blanks and _ . -, and begins and ends with a letter or digit"


def _no_id(text: str) -> str:
    try:
        UUID(text)
    except ValueError:
        return text
    raise ValueError("a name must not look like an id")


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character")
    return text


GroupName = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    AfterValidator(_no_id),
    BeforeValidator(in_words(NAME_PATTERN, f"a name has {NAME_WORDS}")),
]
"""1 to 64 letters, digits, blanks and `_ . -`; begins and ends with a letter or digit."""

GroupText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_no_nul),
    Field(description="A group's id or name"),
]
Description = Annotated[Line, Field(max_length=1_000)]


class GroupPath(Strict):
    """A group in the path."""

    group: GroupText


class GroupsQuery(Strict):
    """What groups to list."""

    q: Search | None = Field(default=None, description="Text in the name or description, in any case")
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class Group(BaseModel):
    """A group."""

    id: UUID
    name: str
    description: str
    hosts: int = Field(description="How many hosts are in it; GET /hosts?group= lists them")
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, row: GroupRow) -> Self:
        """The group of a row."""
        group = row.group
        return cls(
            id=group.id,
            name=group.name,
            description=group.description,
            hosts=row.hosts,
            created_at=group.created_at,
            created_by=group.created_by,
        )


class GroupRequest(Strict):
    """A new group."""

    name: GroupName
    description: Description = ""


class GroupChange(Strict):
    """A new name or description; what is left out stays."""

    name: GroupName | None = None
    description: Description | None = None


class MembersRequest(Strict):
    """Hosts to put in or take out."""

    hosts: list[HostText] = Field(min_length=1, max_length=HOSTS_MAX)


class Membership(BaseModel):
    """What became of putting hosts in or taking them out."""

    group: Group
    changed: int = Field(description="Hosts that were not in it before, or were")
    unchanged: int


class Deleted(BaseModel):
    """What was deleted."""

    id: UUID
    name: str
