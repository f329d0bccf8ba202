"""What operators changed from the defaults; the list of settings is `redflag_store.fleet_settings`."""

from typing import Any, ClassVar

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from redflag_store.tables.columns import Str, Time


class StoredSetting(SQLModel, table=True):
    """One setting that is not at its default."""

    __tablename__: ClassVar[str] = "setting"

    key: str = Field(primary_key=True, sa_type=Text)
    value: Any = Field(sa_type=JSONB, nullable=False)  # JSON null is a value here, SQL null is none
    changed_at: Time
    changed_by: Str
