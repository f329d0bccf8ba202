"""Cells that no spreadsheet runs, read back by another reader of CSV."""

import csv
import io
from datetime import UTC, datetime

import pytest

from redflag_ops.csv_cells import cell, plain, row

HOSTILE = [
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\n=1",
    "\uff1d1+1",
    "'=1",
]


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_could_be_a_formula_is_text(text: str) -> None:
    ((found,),) = read(row([text]))
    assert found == "'" + text
    assert plain(found) == text


def test_nothing_leaves_its_cell() -> None:
    values = ['a"b', "a,b", "a\nb", 'x",=1,"', "a\r\nb", "'quoted'", ""]
    assert read(row(values) + row(["next"])) == [values, ["next"]]


def test_what_steers_a_terminal_is_shown_as_what_it_is() -> None:
    ((found,),) = read(row(["\x1b]0;title\x07\x00\u202e\x9b"]))
    assert found == "\\x1b]0;title\\x07\\x00\\u202e\\x9b"


def test_values_have_one_form() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    values = [None, True, False, -5, 1.5, at, ["=a", "b"], {"b": 1, "a": "=x"}]
    assert read(row(values)) == [
        ["", "yes", "no", "-5", "1.5", "2026-01-02T03:04:05+00:00", "'=a; b", "a==x; b=1"]
    ]


def test_every_cell_is_quoted() -> None:
    assert cell(1) == '"1"'
    assert cell(None) == '""'
