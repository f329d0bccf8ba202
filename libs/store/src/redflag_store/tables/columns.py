"""Column types that every table shares, and the builder of check constraints over closed lists.

Guarantees: times are always `timestamptz`, numbers that grow with traffic are 64 bits wide, text is unbounded
in the database (its bounds are checked where it enters). Columns with a default have it in the database too,
so that bulk inserts that do not pass through the models may leave them out.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import TIMESTAMP, BigInteger, Boolean, CheckConstraint, Integer, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from redflag_store.metadata import metadata

__all__ = [
    "TIMESTAMPTZ",
    "BigCount",
    "Count",
    "Flag",
    "JsonList",
    "JsonObject",
    "MaybeBig",
    "MaybeBytes",
    "MaybeJson",
    "MaybeStr",
    "MaybeTime",
    "RawBytes",
    "Str",
    "Time",
    "metadata",
    "one_of",
]

TIMESTAMPTZ = TIMESTAMP(timezone=True)

Time = Annotated[datetime, Field(sa_type=TIMESTAMPTZ)]
MaybeTime = Annotated[datetime | None, Field(sa_type=TIMESTAMPTZ)]
Str = Annotated[str, Field(sa_type=Text)]
MaybeStr = Annotated[str | None, Field(sa_type=Text)]
RawBytes = Annotated[bytes, Field(sa_type=LargeBinary)]
MaybeBytes = Annotated[bytes | None, Field(sa_type=LargeBinary)]
MaybeBig = Annotated[int | None, Field(sa_type=BigInteger)]
BigCount = Annotated[int, Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})]
Count = Annotated[int, Field(sa_type=Integer, sa_column_kwargs={"server_default": text("0")})]
Flag = Annotated[bool, Field(sa_type=Boolean, sa_column_kwargs={"server_default": text("false")})]
JsonObject = Annotated[
    dict[str, Any], Field(sa_type=JSONB, sa_column_kwargs={"server_default": text("'{}'::jsonb")})
]
JsonList = Annotated[
    list[Any], Field(sa_type=JSONB, sa_column_kwargs={"server_default": text("'[]'::jsonb")})
]
MaybeJson = Annotated[dict[str, Any] | None, Field(sa_type=JSONB(none_as_null=True))]


def one_of(column: str, values: Iterable[str], *, name: str | None = None) -> CheckConstraint:
    """A check that `column` holds one of `values` (or is null, where the column allows it)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)
