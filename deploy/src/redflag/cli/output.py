"""Prints results: tables for people, stable JSON for scripts; progress and remarks on standard error only.

Guarantees: standard output holds the result and nothing else; with `--format json` it is exactly one JSON
document, ASCII only, so that no byte of it can steer a terminal; tables have no colour and no cut columns when
they do not go to a terminal.
"""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from redflag.cli.options import Format
from redflag.cli.terminal import block, line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_PIPE_WIDTH: Final = 100_000  # columns; a table in a pipe is as wide as its content


def print_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def console() -> "Console":
    """The console for tables on standard output."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, and JSON needs none

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        width=None if terminal else _PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=None if terminal else True,
    )


def styled(text: object, style: str = "") -> "Text":
    """One line of text, made safe, in a style."""
    from rich.text import Text  # noqa: PLC0415 - as above

    return Text(line(text), style=style)


def print_line(text: object, style: str = "") -> None:
    """Print one line, made safe."""
    console().print(styled(text, style), soft_wrap=True)


def print_block(text: str) -> None:
    """Print text of several lines, made safe."""
    sys.stdout.write(block(text).rstrip("\n") + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, right: Sequence[str] = ()
) -> None:
    """Print a table.

    Args:
        columns: the headings.
        rows: cells as text or as made by `styled`.
        empty: what to say when there are no rows.
        right: headings of columns whose figures stand at the right.
    """
    if not rows:
        print_line(empty)
        return
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=False
        )
    for row in rows:
        table.add_row(*(styled(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)


def remark(text: str) -> None:
    """Say something beside the result, on standard error."""
    sys.stderr.write(line(text) + "\n")


def shown_of(found: dict[str, Any], noun: str) -> None:
    """Say when a list was cut."""
    if found.get("next") is not None:
        remark(f"{len(found['items'])} of {found['total']} {noun} shown; --limit shows more")


def is_json(wanted: Format) -> bool:
    """Whether results go to a script."""
    return wanted is Format.JSON
