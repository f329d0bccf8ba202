"""Options every command takes."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

COMMON = Group("Connection and output", sort_key=100)


class Format(StrEnum):
    """How results are printed on standard output."""

    TABLE = "table"
    JSON = "json"


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True)
class Common:
    """Where the server is, and how results are printed.

    Attributes:
        api_url: address of the API; else REDFLAG_API_URL, else the installation of this machine.
        api_key_file: file with the API key; else REDFLAG_API_KEY or REDFLAG_API_KEY_FILE.
        data: data directory of the installation of this machine; else the one `redflag up` used last.
        format: table for people, json for scripts.
    """

    api_url: Annotated[
        str | None,
        Parameter(help="Address of the API [env: REDFLAG_API_URL; else this machine's installation]"),
    ] = None
    api_key_file: Annotated[
        Path | None, Parameter(help="File with the API key [env: REDFLAG_API_KEY, REDFLAG_API_KEY_FILE]")
    ] = None
    data: Annotated[
        Path | None,
        Parameter(help="Data directory of this machine's installation [default: the one used last]"),
    ] = None
    format: Annotated[Format, Parameter(help="table for people, json for scripts")] = Format.TABLE


NO_OPTIONS = Common()
"""All defaults."""
