"""`redflag settings`: what operators may change while RedFlag runs."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.problems import UsageRefusedError, shortened
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, exact

app = App(name="settings", help="Limits, timeouts, retention.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("Setting", whole=True),
    Column("Value", right=True),
    Column("Unit"),
    Column("Default", right=True),
    Column("Changed"),
    Column("By"),
    Column("About", spare=True),
)


@app.command(name="list")
def list_settings(
    *,
    q: Annotated[str | None, Parameter(help="Text in the name or what it is about.")] = None,
    changed: Annotated[
        bool | None, Parameter(negative="--unchanged", help="Not at their defaults, or the others.")
    ] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List settings by name."""

    async def work(session: Session) -> ExitCode:
        page = await listing.fetch(session, "/settings", {"q": q, "changed": changed}, rows)
        now = session.api.now

        def row(one: Json) -> list[Cell]:
            value = dash(one["value"])
            return [
                one["key"],
                value if one["changed_at"] is None else Styled(value, "yellow"),
                one["unit"],
                dash(one["default"]),
                "-" if one["changed_at"] is None else ago(one["changed_at"], now),
                dash(one["changed_by"]),
                one["about"],
            ]

        listing.show(
            session,
            page,
            _COLUMNS,
            row,
            empty="No setting matches.",
            footer=counted(page["total"], "setting"),
        )
        return ExitCode.DONE

    return run(common, work)


@app.command
def get(name: str, /, *, common: Common = COMMON) -> int:
    """Show one setting.

    Parameters
    ----------
    name
        For example scheduler.jitter_percent.
    """

    async def work(session: Session) -> ExitCode:
        found = await session.api.get(f"/settings/{segment(name)}")
        if session.out.as_json:
            session.out.json(found)
        else:
            session.out.fields(_fields(found))
        return ExitCode.DONE

    return run(common, work)


@app.command(name="set")
def set_(name: str, value: str, /, *, common: Common = COMMON) -> int:
    """Change a setting; RedFlag follows within seconds.

    Parameters
    ----------
    name
        For example scheduler.jitter_percent.
    value
        A number in the setting's unit, a version, or none where that is allowed.
    """

    async def work(session: Session) -> ExitCode:
        known = await session.api.get(f"/settings/{segment(name)}")
        answer = await session.api.post(
            f"/settings/{segment(name)}", {"value": read_value(known, value)}, nulls=True
        )
        return _changed(session, answer)

    return run(common, work)


@app.command
def reset(name: str, /, *, common: Common = COMMON) -> int:
    """Bring a setting back to its default.

    Parameters
    ----------
    name
        For example scheduler.jitter_percent.
    """

    async def work(session: Session) -> ExitCode:
        return _changed(session, await session.api.post(f"/settings/{segment(name)}/reset", None))

    return run(common, work)


def read_value(setting: Json, text: str) -> int | str | None:
    """Return the value a person wrote for a setting; `none` is null where it is no number.

    Raises:
        UsageRefusedError: it is a number and this is none, or it lies outside of its bounds.
    """
    if setting["least"] is None:
        return None if text == "none" else text
    bounds = f"a whole number from {setting['least']} to {setting['most']} ({setting['unit']})"
    # Not int(): it takes other scripts' digits, underscores and blanks.
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(setting["most"]))
    if not digits or not setting["least"] <= int(text) <= setting["most"]:
        raise UsageRefusedError(f"{shortened(text)!r}: {setting['key']} is {bounds}")
    return int(text)


def _changed(session: Session, answer: Json) -> ExitCode:
    if session.out.as_json:
        session.out.json(answer)
    else:
        setting = answer["setting"]
        default = " (the default)" if setting["changed_at"] is None else ""
        session.out.say(f"{setting['key']} is {_with_unit(setting['value'], setting)}{default}.")
    return ExitCode.DONE


def _with_unit(value: object, setting: Json) -> str:
    return dash(value) if value is None or setting["least"] is None else f"{value} {setting['unit']}"


def _fields(setting: Json) -> list[tuple[str, Cell]]:
    fields: list[tuple[str, Cell]] = [
        ("Setting", setting["key"]),
        ("About", setting["about"]),
        ("Value", _with_unit(setting["value"], setting)),
        ("Default", _with_unit(setting["default"], setting)),
    ]
    if setting["least"] is not None:
        fields.append(("Bounds", f"{setting['least']} to {setting['most']}"))
    if setting["changed_at"] is not None:
        fields += [("Changed", exact(setting["changed_at"])), ("By", dash(setting["changed_by"]))]
    return fields
