"""Trees, times and figures on the command line."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from redflag.cli.host_changes import branches
from redflag.cli.host_figures import load, used
from redflag.cli.options import Format
from redflag.cli.output import Column, Output, Styled
from redflag.cli.problems import UsageRefusedError
from redflag.cli.since import time_text

NOW = datetime(2026, 5, 2, 12, tzinfo=UTC)


def host(name: str, parent: str | None = None) -> dict[str, Any]:
    return {"id": name, "hostname": name, "parent_id": parent}


def drawn(*hosts: dict[str, Any]) -> list[str]:
    return [branch + one["hostname"] for branch, one in branches(hosts)]


def test_a_tree_shows_what_runs_on_what() -> None:
    assert drawn(
        host("a"), host("b", "node"), host("c", "b"), host("d", "node"), host("e", "d"), host("node")
    ) == ["a", "node", "|- b", "|  `- c", "`- d", "   `- e"]  # fmt: skip


def test_a_host_whose_node_is_not_shown_stands_at_the_root() -> None:
    assert drawn(host("guest", "elsewhere"), host("inner", "guest")) == ["guest", "`- inner"]


def test_a_circle_is_drawn_once() -> None:
    assert sorted(one.lstrip("`- ") for one in drawn(host("a", "b"), host("b", "a"), host("c"))) == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("24h", "2026-05-01T12:00:00+00:00"),
        ("90", "2026-05-02T11:58:30+00:00"),
        ("2026-05-01", "2026-05-01T00:00:00+00:00"),
        ("2026-05-01T10:00:00Z", "2026-05-01T10:00:00+00:00"),
        ("2026-05-01T10:00:00+02:00", "2026-05-01T10:00:00+02:00"),
    ],
)
def test_times_are_how_long_ago_or_when(text: str, found: str) -> None:
    assert time_text(text, NOW, "--since") == found


@pytest.mark.parametrize("text", ["yesterday", "", "-1h", "999999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageRefusedError, match="--since"):
        time_text(text, NOW, "--since")


def test_figures_have_words() -> None:
    assert (load(1500), load(None)) == ("1.50", "-")
    assert (used(200, 50), used(0, 0), used(None, 1), used(100, 200)) == ("75 %", "-", "-", "0 %")


def test_a_table_as_csv_is_inert() -> None:
    stdout = io.StringIO()
    out = Output(stdout, io.StringIO(), Format.CSV)
    out.table([Column("Host"), Column("State", spare=True)], [["=cmd|'/C calc'!A0", Styled('a"b', "red")]])
    out.fields([("Tags", "\x1b[31m")])
    assert stdout.getvalue().splitlines() == [
        '"Host","State"', '"\'=cmd|\'/C calc\'!A0","a""b"', '"Name","Value"', '"Tags","\\x1b[31m"'
    ]  # fmt: skip
