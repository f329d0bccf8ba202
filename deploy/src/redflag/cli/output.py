"""What the person or script gets to see: answers on standard output, everything else on standard error.

Guarantees: every text goes through `terminal_text` and none is read as markup; with `json` standard output holds
one JSON document in ASCII and nothing else, with `csv` cells that no spreadsheet runs; without a terminal there is
no colour, nothing is cut and nothing is wrapped.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redflag.cli.options import Format
from redflag.cli.problems import CliError
from redflag.cli.terminal_text import one_line, safe
from redflag_ops import csv_cells

UNLIMITED: Final = 1_000_000  # columns: wider than any table, so that none is cut
GAP: Final = 2  # between two columns
FLEXIBLE_MIN: Final = 12  # a column that may break is not made narrower


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes:
        title: its heading.
        whole: never broken into lines: ids and names one copies.
        right: figures.
        spare: left out on a terminal too narrow for it; never in a pipe.
    """

    title: str
    whole: bool = False
    right: bool = False
    spare: bool = False


@dataclass(frozen=True)
class Styled:
    """A cell in a style of its own."""

    text: str
    style: str


Cell = str | Styled


class Output:
    """Prints.

    Args:
        stdout: for answers.
        stderr: for progress, remarks and errors.
        form: table, json or csv.
    """

    def __init__(self, stdout: TextIO, stderr: TextIO, form: Format) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.form = form
        self.goes_on: str | None = None  # what to say when Ctrl-C ends the waiting, not the work

    @property
    def as_json(self) -> bool:
        """Whether a script reads."""
        return self.form is Format.JSON

    def json(self, value: object) -> None:
        """Print an answer as JSON."""
        self.stdout.write(json.dumps(value, indent=2) + "\n")

    def say(self, text: str = "", style: str = "") -> None:
        """Print lines of an answer."""
        self._console(self.stdout).print(Text(safe(text), style=style), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Print what a host printed, made safe, with one newline at its end."""
        self.stdout.write(safe(text).rstrip("\n") + "\n")

    def note(self, text: str) -> None:
        """Print a remark that is not part of the answer."""
        self.stderr.write(safe(text) + "\n")

    def empty(self, text: str) -> None:
        """Say that there is nothing; a script that reads a table gets no line at all."""
        if self.stdout.isatty():
            self.say(text)
        else:
            self.note(text)

    def footer(self, text: str) -> None:
        """Print a line below a table, for people only."""
        if self.stdout.isatty():
            self.say(text)

    def error(self, error: CliError) -> None:
        """Say what went wrong and what to do."""
        console = self._console(self.stderr)
        console.print(Text(f"redflag: {safe(error.message)}", style="red"), soft_wrap=True)
        for hint in error.hints:
            console.print(Text(f"  {safe(hint)}"), soft_wrap=True)

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, to_stderr: bool = False
    ) -> None:
        """Print a table; as CSV every column is there, and no cell is a formula to a spreadsheet."""
        if self.form is Format.CSV and not to_stderr:
            self._csv([[column.title for column in columns], *rows])
            return
        stream = self.stderr if to_stderr else self.stdout
        terminal = stream.isatty()
        console = self._console(stream)
        texts = [[_text(cell) for cell in row] for row in rows]
        shown = list(range(len(columns)))
        if terminal:
            shown = fitting(columns, texts, console.width)
            # What still does not fit is wrapped by the terminal; rich would cut it without a word.
            console.width = max(console.width, _least(columns, texts, shown))
        # With a box rich puts a space of its own between columns, without one it does not.
        made = Table(
            box=SIMPLE_HEAD if terminal else None,
            pad_edge=False,
            show_edge=False,
            padding=(0, GAP - 1 if terminal else GAP, 0, 0),
        )
        for n in shown:
            made.add_column(
                columns[n].title,
                justify="right" if columns[n].right else "left",
                no_wrap=columns[n].whole or not terminal,
                overflow="fold",
                min_width=_narrowest(columns[n], [row[n] for row in texts]),
            )
        for row in texts:
            made.add_row(*(row[n] for n in shown))
        if terminal:
            console.print(made)
            return
        with console.capture() as captured:
            console.print(made)
        stream.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())

    def fields(self, rows: Sequence[tuple[str, Cell]]) -> None:
        """Print names and values, one a line."""
        if self.form is Format.CSV:
            self._csv([["Name", "Value"], *rows])
            return
        width = max((len(one_line(name)) for name, _ in rows), default=0)
        console = self._console(self.stdout)
        for name, cell in rows:
            console.print(Text(f"{one_line(name):<{width}}  ").append_text(_text(cell)), soft_wrap=True)

    def _csv(self, rows: Sequence[Sequence[Cell]]) -> None:
        for one in rows:
            texts = (cell.text if isinstance(cell, Styled) else cell for cell in one)
            # What a table shows as a dash is nothing, and a spreadsheet shall count it so.
            self.stdout.write(csv_cells.row("" if text == "-" else text for text in texts))

    def _console(self, stream: TextIO) -> Console:
        terminal = stream.isatty()
        return Console(
            file=stream,
            force_terminal=terminal,
            no_color=None if terminal else True,
            width=None if terminal else UNLIMITED,
            markup=False,
            highlight=False,
            emoji=False,
        )


def _text(cell: Cell) -> Text:
    if isinstance(cell, Styled):
        return Text(one_line(cell.text), style=cell.style)
    return Text(one_line(cell))


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Return which columns to show on a terminal: all, or without spare ones, the last of them first."""
    shown = list(range(len(columns)))
    for n in reversed(range(len(columns))):
        if _least(columns, rows, shown) <= width:
            break
        if columns[n].spare:
            shown.remove(n)
    return shown


def _least(columns: Sequence[Column], rows: Sequence[Sequence[Text]], shown: Sequence[int]) -> int:
    return sum(_narrowest(columns[n], [row[n] for row in rows]) + GAP for n in shown)


def _narrowest(column: Column, cells: Sequence[Text]) -> int:
    longest = max((cell.cell_len for cell in cells), default=0)
    return max(len(column.title), longest if column.whole else min(longest, FLEXIBLE_MIN))
