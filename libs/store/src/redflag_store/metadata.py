"""One naming rule for every constraint and index, so that migrations can name what they change.

Importing this module sets the rule on `SQLModel.metadata`; every table module imports it through
`redflag_store.tables.columns`, so no table can be declared without it. Constraint names given in a table are
the *last* part only: `CheckConstraint(..., name="state")` on `command` becomes `ck_command_state`.
"""

from typing import Final

from sqlalchemy import MetaData
from sqlmodel import SQLModel

NAMING_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata: Final[MetaData] = SQLModel.metadata
"""The metadata all tables of this package are declared on."""

metadata.naming_convention = NAMING_CONVENTION
