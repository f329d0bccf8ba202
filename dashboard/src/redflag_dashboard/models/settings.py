"""Settings operators may change while RedFlag runs."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, Limit, Search
from redflag_dashboard.rest.route import Strict
from redflag_store.fleet_settings import CATALOG, FleetSettings
from redflag_store.tables import StoredSetting

VALUE_MAX_CHARS = 128

SettingKey = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9_.]{1,64}$"),
    Field(description="Dotted name, such as scheduler.jitter_percent"),
]
SettingText = Annotated[str, StringConstraints(max_length=VALUE_MAX_CHARS)]


class SettingsQuery(Strict):
    """What settings to list."""

    q: Search | None = Field(default=None, description="Text in the key or its description, in any case")
    changed: bool | None = Field(default=None, description="Not at their defaults; or the others")
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class SettingPath(Strict):
    """A setting in the path."""

    key: SettingKey


class SettingChange(Strict):
    """A setting's new value."""

    value: int | SettingText | None = Field(
        description="Within the setting's bounds; null where it may be none"
    )


class Setting(BaseModel):
    """One setting."""

    key: str
    value: int | str | None = Field(description="In force")
    default: int | str | None
    unit: str
    least: int | None = Field(description="Of a number; null for a text")
    most: int | None = Field(description="Of a number; null for a text")
    about: str
    changed_at: datetime | None = Field(description="null: at its default")
    changed_by: str | None

    @classmethod
    def of(cls, key: str, stored: StoredSetting | None) -> Self:
        """A setting of the catalogue, with what is stored of it."""
        known = CATALOG[key]
        number = not known.is_version
        return cls(
            key=key,
            value=FleetSettings({} if stored is None else {key: stored.value}).value(key),
            default=known.default,
            unit=known.unit,
            least=known.least if number else None,
            most=known.most if number else None,
            about=known.about,
            changed_at=None if stored is None else stored.changed_at,
            changed_by=None if stored is None else stored.changed_by,
        )


class ChangedSetting(BaseModel):
    """A setting after a change, and the signed intent behind it."""

    setting: Setting
    intent_id: UUID
