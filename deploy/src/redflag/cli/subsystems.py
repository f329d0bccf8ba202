"""`redflag subsystems`: what of a host is looked at, how often, and what came of it."""

from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import App, Group, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows, parse_duration
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.subsystem_words import FIELDS, every, runs_cell, source_words, values_words
from redflag.cli.words import ago, counted, dash, spell, style_of

app = App(
    name="subsystems", help="What of a host is looked at, and how often.", help_epilogue=exit_codes.HELP
)

# The API's bounds, said here in the words of the options.
EVERY_MIN_S: Final = 60
EVERY_MAX_S: Final = 86_400
BREAKER_MAX_S: Final = 7 * 86_400
FAILURES_MAX: Final = 100
GOOD_MAX: Final = 10
DEFAULT: Final = "default"

_COLUMNS = (
    Column("Subsystem", whole=True),
    Column("Runs", whole=True),
    Column("Every", right=True, whole=True),
    Column("From"),
    Column("Last run"),
    Column("Result"),
    Column("Failures", right=True),
    Column("Next run", whole=True),
)
_DEFAULT_COLUMNS = (
    Column("Subsystem", whole=True),
    Column("For", whole=True),
    Column("Priority", right=True),
    Column("Sets"),
    Column("Changed"),
    Column("By"),
)

_Every = Annotated[
    str | None, Parameter(help="How often, 1m to 24h, for example 30m; `default`: as the next default says.")
]
_Timeout = Annotated[str | None, Parameter(help="How long one look may take; `default` takes it back.")]
_On = Annotated[
    bool | None,
    Parameter(
        name="--on", negative="--off", help="Whether it is scheduled; off, only an operator's own scan runs."
    ),
]
_Auto = Annotated[
    bool | None,
    Parameter(
        name="--auto", negative="--no-auto", help="Whether RedFlag looks by itself, or only when asked."
    ),
]


@Parameter(name="*", group=Group("When looks fail", sort_key=70))
@dataclass(frozen=True)
class Breaker:
    """When the scheduler leaves a subsystem that fails alone for a while; as written.

    Attributes:
        failures, good: counts, or `default`.
        window, open_: durations, or `default`.
    """

    failures: Annotated[
        str | None,
        Parameter(name="--breaker-failures", help="Failed looks that open it, 1 to 100, or `default`."),
    ] = None
    window: Annotated[
        str | None,
        Parameter(name="--breaker-window", help="Within what time they count, 1m to 7d, or `default`."),
    ] = None
    open_: Annotated[
        str | None,
        Parameter(name="--breaker-open", help="How long it then stays open, 1m to 7d, or `default`."),
    ] = None
    good: Annotated[
        str | None,
        Parameter(name="--breaker-good", help="Good looks that close it again, 1 to 10, or `default`."),
    ] = None

    def values(self) -> Json:
        """What was written, as the API takes it.

        Raises:
            UsageRefusedError: a number or duration is none, or out of bounds.
        """
        body: Json = {}
        for field, text, option, most in (
            ("breaker_failures", self.failures, "--breaker-failures", FAILURES_MAX),
            ("breaker_half_open", self.good, "--breaker-good", GOOD_MAX),
        ):
            if text is not None:
                body[field] = _count(text, option, most)
        for field, text, option in (
            ("breaker_window_s", self.window, "--breaker-window"),
            ("breaker_open_s", self.open_, "--breaker-open"),
        ):
            if text is not None:
                body[field] = _seconds(text, option, EVERY_MIN_S, BREAKER_MAX_S)
        return body


NO_BREAKER: Final = Breaker()

_Reset = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Take back everything set here; the next default holds."),
]


@app.command(name="list")
def list_subsystems(host: str, /, *, common: Common = COMMON) -> int:
    """List a host's subsystems.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        page = await session.api.get(f"/hosts/{segment(host)}/subsystems")
        now = session.api.now

        def row(one: Json) -> list[Cell]:
            result = one["last_result"]
            code = f" ({spell(one['last_code'])})" if one["last_code"] else ""
            return [
                one["name"],
                runs_cell(one["values"]),
                every(one["values"]["interval_s"]),
                source_words(one["sources"]),
                ago(one["last_run_at"], now),
                "-" if result is None else Styled(spell(result) + code, style_of(result)),
                Styled(str(one["failures"]), "red" if one["failures"] else ""),
                _next(session, one),
            ]

        listing.show(session, page, _COLUMNS, row, empty="The host has not said what it has yet.")
        return ExitCode.DONE

    return run(common, work)


@app.command(name="set")
def set_(
    host: str,
    name: str,
    /,
    *,
    every: _Every = None,
    timeout: _Timeout = None,
    on: _On = None,
    auto: _Auto = None,
    breaker: Breaker = NO_BREAKER,
    reset: _Reset = False,
    common: Common = COMMON,
) -> int:
    """Set what holds for one subsystem of one host.

    Parameters
    ----------
    host
        Its name or id.
    name
        For example apt, system or storage.
    """

    async def work(session: Session) -> ExitCode:
        body = changed_values(every=every, timeout=timeout, on=on, auto=auto, breaker=breaker, reset=reset)
        answer = await session.api.post(
            f"/hosts/{segment(host)}/subsystems/{segment(name)}", body, nulls=True
        )
        out, found = session.out, answer["subsystem"]
        if out.as_json:
            out.json(answer)
        else:
            out.say(f"{found['name']} on {host}: {values_words(found['values'])}.")
        return ExitCode.DONE

    return run(common, work)


@app.command
def defaults(
    name: Annotated[str | None, Parameter(help="Of which subsystem, to set it.")] = None,
    /,
    *,
    group: Annotated[
        str | None, Parameter(help="A group's, by name or id; otherwise the whole fleet's.")
    ] = None,
    priority: Annotated[
        int | None,
        Parameter(help="Of several groups of a host the highest wins; 0 to 1000, 100 unless said."),
    ] = None,
    every: _Every = None,
    timeout: _Timeout = None,
    on: _On = None,
    auto: _Auto = None,
    breaker: Breaker = NO_BREAKER,
    reset: _Reset = False,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List the defaults of the fleet and of groups; with a NAME and values, set them.

    Parameters
    ----------
    name
        A subsystem, for example apt.
    """

    async def work(session: Session) -> ExitCode:
        given = (every, timeout, on, auto, priority)
        if all(one is None for one in given) and breaker == NO_BREAKER and not reset:
            return await _list_defaults(session, name, group, rows)
        if name is None:
            raise UsageRefusedError("name the subsystem", ["redflag subsystems defaults apt --every 30m"])
        body = changed_values(
            every=every,
            timeout=timeout,
            on=on,
            auto=auto,
            breaker=breaker,
            reset=reset,
            empty=priority is not None,
        )
        body |= {key: value for key, value in (("group", group), ("priority", priority)) if value is not None}
        answer = await session.api.post(f"/subsystem-defaults/{segment(name)}", body, nulls=True)
        out, found = session.out, answer["default"]
        if out.as_json:
            out.json(answer)
        elif found is None:
            out.say(f"{name} has no default of its own any more for {_whose(group)}.")
        else:
            out.say(f"{name} for {_whose(found['group'])}: {values_words(found['values'])}.")
        return ExitCode.DONE

    return run(common, work)


async def _list_defaults(session: Session, name: str | None, group: str | None, rows: Rows) -> ExitCode:
    query = {"subsystem": name, "group": group}
    page = await listing.fetch(session, "/subsystem-defaults", query, rows)
    now = session.api.now

    def row(one: Json) -> list[Cell]:
        return [
            one["subsystem"],
            _whose(one["group"]),
            "-" if one["group"] is None else str(one["priority"]),
            values_words(one["values"]),
            ago(one["changed_at"], now),
            dash(one["changed_by"]),
        ]

    empty = "Nothing is set: package managers run every 6 h, storage every 1 h, system every 15 min."
    footer = counted(page["total"], "default")
    listing.show(session, page, _DEFAULT_COLUMNS, row, empty=empty, footer=footer)
    return ExitCode.DONE


def changed_values(
    *,
    every: str | None,
    timeout: str | None,
    on: bool | None,
    auto: bool | None,
    reset: bool,
    breaker: Breaker = NO_BREAKER,
    empty: bool = False,
) -> Json:
    """Return the values a person named, as the API takes them.

    Args:
        every: a duration, or `default`.
        timeout: a duration, or `default`.
        on: whether it is scheduled.
        auto: whether by itself.
        breaker: when failing looks are paused.
        reset: everything back to the next default.
        empty: whether naming nothing is fine.

    Raises:
        UsageRefusedError: nothing was named, everything and something at once, or a value out of bounds.
    """
    body: Json = {}
    if every is not None:
        body["interval_s"] = _seconds(every, "--every", EVERY_MIN_S)
    if timeout is not None:
        body["timeout_s"] = _seconds(timeout, "--timeout", 10)
    if on is not None:
        body["enabled"] = on
    if auto is not None:
        body["auto_run"] = auto
    body |= breaker.values()
    if reset and body:
        raise UsageRefusedError("--reset takes everything back; give it alone")
    if reset:
        return dict.fromkeys(FIELDS)
    if not body and not empty:
        raise UsageRefusedError("nothing to set", ["give for example --every 30m, --off or --no-auto"])
    return body


def _seconds(text: str, option: str, least: int, most: int = EVERY_MAX_S) -> int | None:
    if text == DEFAULT:
        return None
    seconds = parse_duration(text, option)
    if not least <= seconds <= most:
        raise UsageRefusedError(f"{option} {text}: goes from {every(least)} to {every(most)}")
    return seconds


def _count(text: str, option: str, most: int) -> int | None:
    if text == DEFAULT:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise UsageRefusedError(f"{option} {text}: a whole number from 1 to {most}, or {DEFAULT}")
    return int(text)


def _whose(group: str | None) -> str:
    return "the fleet" if group is None else f"group {group}"


def _next(session: Session, one: Json) -> Cell:
    if one["waits_for"] == "asleep":
        return "when it is seen"
    if one["next_run_at"] is None:
        return "-"
    when = ago(one["next_run_at"], session.api.now)
    if one["waits_for"] is not None:
        return Styled(f"due ({spell(one['waits_for'])})", "yellow")
    return "due" if when.endswith("ago") else when
