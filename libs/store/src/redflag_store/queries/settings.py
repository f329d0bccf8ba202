"""Reading and changing the settings of `redflag_store.fleet_settings`.

Guarantees: only values that fit are stored; whoever listens on `SETTINGS_CHANNEL` is told at commit. The signed
intent behind a change is stored by the caller in the same transaction.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from redflag_store.fleet_settings import CATALOG, FleetSettings, SettingRefusedError, Value
from redflag_store.tables.settings import StoredSetting

SETTINGS_CHANNEL: Final = "redflag_setting"


async def read_settings(session: AsyncSession) -> FleetSettings:
    """The settings in force."""
    rows = await session.execute(select(col(StoredSetting.key), col(StoredSetting.value)))
    return FleetSettings({row.key: row.value for row in rows if row.key in CATALOG})


async def stored_settings(session: AsyncSession) -> Sequence[StoredSetting]:
    """What is not at its default, with who changed it and when."""
    return (await session.scalars(select(StoredSetting).order_by(col(StoredSetting.key)))).all()


async def change_setting(
    session: AsyncSession, key: str, value: Value, *, changed_by: str, at: datetime
) -> Value:
    """Store a value; return it.

    Raises:
        SettingRefusedError: there is no such setting, or the value does not fit.
    """
    if key not in CATALOG:
        raise SettingRefusedError(f"there is no setting {key}")
    checked = CATALOG[key].check(value)
    row = {"key": key, "value": checked, "changed_at": at, "changed_by": changed_by}
    statement = insert(StoredSetting).values(row)
    await session.execute(statement.on_conflict_do_update(index_elements=["key"], set_=row))
    await _tell(session, key)
    return checked


async def reset_setting(session: AsyncSession, key: str) -> None:
    """Bring a setting back to its default.

    Raises:
        SettingRefusedError: there is no such setting.
    """
    if key not in CATALOG:
        raise SettingRefusedError(f"there is no setting {key}")
    await session.execute(delete(StoredSetting).where(col(StoredSetting.key) == key))
    await _tell(session, key)


async def _tell(session: AsyncSession, key: str) -> None:
    await session.execute(
        text("SELECT pg_notify(:channel, :payload)"),
        {"channel": SETTINGS_CHANNEL, "payload": json.dumps({"kind": "setting", "key": key})},
    )
