"""Shapes that several domains share. Everything that comes in is bounded; nothing unknown is accepted."""

import re
from collections.abc import Callable
from typing import Annotated, Final, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from redflag_dashboard.rest.cursor import CURSOR_MAX
from redflag_dashboard.rest.route import Strict
from redflag_wire.fields import Digest, Manager, Name

__all__ = [
    "PAGE_DEFAULT",
    "PAGE_MAX",
    "CommandPath",
    "Cursor",
    "Digest",
    "HostPath",
    "HostText",
    "Limit",
    "Manager",
    "Name",
    "Page",
    "PlanPath",
    "Search",
    "in_words",
]

PAGE_DEFAULT: Final = 50  # rows
PAGE_MAX: Final = 500  # rows


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character")
    return text


HostText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    AfterValidator(_no_nul),
    Field(description="Id or name"),
]
Search = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_no_nul)]
Cursor = Annotated[
    str, StringConstraints(max_length=CURSOR_MAX), Field(description="`next` of the page before")
]
Limit = Annotated[int, Field(ge=1, le=PAGE_MAX, description="Rows of the page")]


def in_words(pattern: str, words: str) -> Callable[[object], object]:
    """Return a check that goes before one by a pattern, and says in words what fits.

    Args:
        pattern: of the text, anchored.
        words: the message when it does not fit.
    """
    fits = re.compile(pattern.removesuffix("$"))

    def check(value: object) -> object:
        if isinstance(value, str) and fits.fullmatch(value) is None:
            raise ValueError(words)
        return value

    return check


ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    """One page of a list."""

    items: list[ItemT]
    next: str | None = Field(description="Pass it as `cursor` for the next page; null at the end")
    total: int = Field(description="All that match, not only this page")


class HostPath(Strict):
    """A host in the path."""

    host: HostText


class CommandPath(Strict):
    """A command in the path."""

    command: UUID


class PlanPath(Strict):
    """A plan in the path."""

    digest: Digest
