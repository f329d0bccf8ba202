"""The settings: listing them, changing one, bringing one back to its default. Every change is a signed intent."""

from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.api import commanding
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.settings import (
    ChangedSetting,
    Setting,
    SettingChange,
    SettingPath,
    SettingsQuery,
)
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store.fleet_settings import CATALOG, SettingRefusedError, Value
from redflag_store.queries import settings as queries
from redflag_store.tables import StoredSetting
from redflag_wire.intent import IntentVerb

_KEY: Final = TypeAdapter(tuple[str])


async def list_(call: Call[Nothing, SettingsQuery, Nothing]) -> Answer:
    """List settings by key."""
    query = call.query
    after = cursor.decode(query.cursor, _KEY)
    async with call.parts.sessions() as session:
        stored = await _stored(session)
    found = [Setting.of(key, stored.get(key)) for key in sorted(CATALOG)]
    if query.q is not None:
        wanted = query.q.casefold()
        found = [one for one in found if wanted in one.key.casefold() or wanted in one.about.casefold()]
    if query.changed is not None:
        found = [one for one in found if (one.changed_at is not None) == query.changed]
    left = [one for one in found if after is None or one.key > after[0]]
    items = left[: query.limit]
    more = len(left) > len(items)
    return Answer(
        Page[Setting](items=items, next=cursor.encode((items[-1].key,)) if more else None, total=len(found))
    )


async def show(call: Call[SettingPath, Nothing, Nothing]) -> Answer:
    """Show one setting."""
    key = _known(call.path.key)
    async with call.parts.sessions() as session:
        return Answer(Setting.of(key, (await _stored(session)).get(key)))


async def change(call: Call[SettingPath, Nothing, SettingChange]) -> Answer:
    """Change a setting; the programs follow within seconds."""
    key, value = _known(call.path.key), call.body.value
    try:
        CATALOG[key].check(value)
    except SettingRefusedError as error:
        raise ProblemError(
            ProblemCode.INVALID_REQUEST,
            f"body/value: {error}",
            extra={"errors": [{"where": "body/value", "message": str(error)}]},
        ) from None
    return await _store(call, key, value, reset=False)


async def reset(call: Call[SettingPath, Nothing, Nothing]) -> Answer:
    """Bring a setting back to its default."""
    key = _known(call.path.key)
    return await _store(call, key, CATALOG[key].default, reset=True)


async def _store(call: Call[SettingPath, Nothing, Any], key: str, value: Value, *, reset: bool) -> Answer:
    intent = commanding.intent_of(
        call, IntentVerb.CHANGE_SETTING, [], {"key": key, "value": value, "reset": reset}
    )
    await commanding.store(call, intent)
    if reset:
        await queries.reset_setting(call.tx, key)
    else:
        await queries.change_setting(call.tx, key, value, changed_by=call.operator, at=call.parts.clock.now())
    shown = Setting.of(key, (await _stored(call.tx)).get(key))
    return Answer(ChangedSetting(setting=shown, intent_id=intent.id))


async def _stored(session: AsyncSession) -> dict[str, StoredSetting]:
    return {row.key: row for row in await queries.stored_settings(session)}


def _known(key: str) -> str:
    if key not in CATALOG:
        raise ProblemError(
            ProblemCode.SETTING_NOT_FOUND, f"there is no setting {key!r}; GET /settings lists them"
        )
    return key


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/settings", "settings_list", "List settings", list_, Page[Setting], Nothing, SettingsQuery, Nothing,
        "settings",
    ),
    Route(
        "GET", "/settings/{key}", "settings_show", "Show a setting", show, Setting, SettingPath, Nothing, Nothing,
        "settings", problems=(ProblemCode.SETTING_NOT_FOUND,),
    ),
    Route(
        "POST", "/settings/{key}", "settings_change", "Change a setting", change, ChangedSetting, SettingPath,
        Nothing, SettingChange, "settings", scope=Scope.ADMIN, changes=True,
        problems=(ProblemCode.SETTING_NOT_FOUND,),
    ),
    Route(
        "POST", "/settings/{key}/reset", "settings_reset", "Bring a setting back to its default", reset,
        ChangedSetting, SettingPath, Nothing, Nothing, "settings", scope=Scope.ADMIN, changes=True,
        problems=(ProblemCode.SETTING_NOT_FOUND,),
    ),
)  # fmt: skip
