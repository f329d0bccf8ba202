"""Options that every command has, and those that several share."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Group, Parameter

from redflag.cli.problems import UsageRefusedError

WAIT_DEFAULT: Final = "30m"
ROWS_DEFAULT: Final = 1000
ROWS_MAX: Final = 100_000

_COMMON = Group("Server and output", sort_key=90)
_WAITING = Group("Waiting", sort_key=80)
_LISTS = Group("Lists", sort_key=80)

_DURATION: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)?")
_UNIT_S: Final = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Format(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def parse_duration(text: str, option: str) -> int:
    """Return the seconds of `90`, `90s`, `15m`, `24h` or `7d`.

    Raises:
        UsageRefusedError: it is none of these, or no time at all.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = 0 if found is None else int(found[1]) * _UNIT_S[found[2]]
    if seconds <= 0:
        raise UsageRefusedError(f"{option} {text}: no duration", ["write for example 90s, 15m, 24h or 7d"])
    return seconds


@Parameter(name="*", group=_COMMON)
@dataclass(frozen=True)
class Common:
    """Which server, and how answers are printed.

    Attributes:
        data: data directory of the `redflag up` on this machine.
        api_url: address of the API; plain http only to this machine.
        api_key_file: file with the API key.
        ca: file of the authority that vouches for the API's certificate.
        format: table for people; json for scripts; csv for spreadsheets.
    """

    data: Annotated[
        Path | None,
        Parameter(help="Data directory of a `redflag up` on this machine. Default: the one used last."),
    ] = None
    api_url: Annotated[
        str | None,
        Parameter(help="Address of the API, also REDFLAG_API_URL. Plain http only to this machine."),
    ] = None
    api_key_file: Annotated[
        Path | None,
        Parameter(help="File with the API key, also REDFLAG_API_KEY_FILE; or the key in REDFLAG_API_KEY."),
    ] = None
    format: Annotated[Format, Parameter(help="table for people, json for scripts, csv for spreadsheets.")] = (
        Format.TABLE
    )
    ca: Annotated[
        Path | None,
        Parameter(help="File with the authority of the API's certificate (PEM), also REDFLAG_API_CA."),
    ] = None


@Parameter(name="*", group=_WAITING)
@dataclass(frozen=True)
class Waiting:
    """Whether to wait for a command's end, and how long.

    Attributes:
        wait: wait for the end.
        timeout: how long at most, as written; see `timeout_s`.
    """

    wait: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Wait for the end; progress is on standard error."),
    ] = False
    timeout: Annotated[str, Parameter(help="How long to wait at most, for example 90s, 30m, 2h.")] = (
        WAIT_DEFAULT
    )

    @property
    def timeout_s(self) -> int:
        """Seconds to wait at most.

        Raises:
            UsageRefusedError: it was written wrongly.
        """
        return parse_duration(self.timeout, "--timeout")

    def check(self) -> None:
        """Make sure of the time to wait before anything is asked of a host, even when nobody waits.

        Raises:
            UsageRefusedError: it was written wrongly.
        """
        parse_duration(self.timeout, "--timeout")


@Parameter(name="*", group=_LISTS)
@dataclass(frozen=True)
class Rows:
    """How much of a list.

    Attributes:
        limit: rows, at most `ROWS_MAX`.
        cursor: `next` of the page before.
    """

    limit: Annotated[int, Parameter(help="Rows at most.")] = ROWS_DEFAULT
    cursor: Annotated[str | None, Parameter(help="`next` of an earlier answer: go on from there.")] = None


Since = Annotated[
    str | None, Parameter(help="Only from then on: 90m, 24h, 7d ago, or a time such as 2026-05-01T12:00:00Z.")
]
"""A list's earliest time; see `redflag.cli.since`."""

Until = Annotated[str | None, Parameter(help="Only before then, written like --since.")]
"""A list's latest time."""

OnlyHost = Annotated[str | None, Parameter(help="Only of this one: name or id.")]
"""A list's filter by host."""

COMMON: Final = Common()
WAITING: Final = Waiting()
ROWS: Final = Rows()
