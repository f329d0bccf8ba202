import io
import json
import re

import pytest

from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Format
from redflag.cli.output import Cell, Column, Output, Styled
from redflag.cli.plan_view import sections, sentence, show_plan
from redflag.cli.problems import ConflictError
from tests.unit.deploy.cli.stand_in import DIGEST, a_change, a_plan, a_plan_entry

HOSTILE = "[bold red]x[/] :smile: \x1b[2J\u202e\r\nnext"
SHOWN = "[bold red]x[/] :smile: \\x1b[2J\\u202e\\x0d\\x0anext"


class Terminal(io.StringIO):
    """Text as a terminal gets it."""

    def isatty(self) -> bool:
        return True


def piped(form: Format = Format.TABLE) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(out, err, form), out, err


def test_a_table_in_a_pipe_cuts_nothing_and_has_no_colour() -> None:
    output, out, _ = piped()
    ids = [f"0198f000-0000-7000-8000-{n:012}" for n in range(3)]
    rows: list[list[Cell]] = [[Styled("failed", "red"), one, "y" * 3000, "end"] for one in ids]
    output.table([Column("State"), Column("Id"), Column("Long"), Column("Last")], rows)
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert all(
        line.split() == ["failed", one, "y" * 3000, "end"] for one, line in zip(ids, lines[1:], strict=True)
    )
    assert "\x1b" not in out.getvalue()
    assert not any(line.endswith(" ") for line in lines)


def test_text_of_hosts_is_neither_markup_nor_a_command() -> None:
    output, out, err = piped()
    output.table([Column("A"), Column("B")], [[HOSTILE, Styled(HOSTILE, "red")]])
    output.fields([("Name", HOSTILE), (HOSTILE, "x")])
    assert out.getvalue().count(SHOWN) == 4
    output.say(HOSTILE)
    output.raw(HOSTILE)
    output.error(ConflictError(HOSTILE, [HOSTILE]))
    output.note(HOSTILE)
    whole = out.getvalue() + err.getvalue()
    assert "\x1b" not in whole
    assert "\u202e" not in whole
    assert "\r" not in whole
    assert whole.count("[bold red]x[/] :smile: \\x1b[2J\\u202e\\x0d\nnext") == 5


def test_a_terminal_gets_colour_and_whole_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    identity = "0198f000-0000-7000-8000-000000000001"
    Output(terminal, Terminal(), Format.TABLE).table(
        [Column("Id", whole=True), Column("Text")], [[Styled(identity, "red"), f"{HOSTILE} {'word ' * 30}"]]
    )
    text = terminal.getvalue()
    assert "\x1b[31m" in text
    assert identity in text
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "..." not in text
    assert "\u2026" not in text
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Output(plain, Terminal(), Format.TABLE).say("x", "red")
    assert "\x1b[31m" not in plain.getvalue()


def test_json_is_one_ascii_document() -> None:
    output, out, _ = piped(Format.JSON)
    value = {"a": HOSTILE + "\x7f\x9b\ud800é"}
    output.json(value)
    assert out.getvalue().isascii()
    assert "\x7f" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert json.loads(out.getvalue()) == value


def test_an_empty_table_in_a_pipe_is_no_line() -> None:
    output, out, err = piped()
    output.empty("Nothing.")
    output.footer("0 rows")
    assert (out.getvalue(), err.getvalue()) == ("", "Nothing.\n")
    terminal = Terminal()
    output = Output(terminal, io.StringIO(), Format.TABLE)
    output.empty("Nothing.")
    assert terminal.getvalue() == "Nothing.\n"


def test_a_plan_has_removals_first_then_what_was_asked_then_the_rest() -> None:
    items = [
        a_change("alpha"), a_change("extra", "install", asked=False), a_change("gone", "remove", asked=False),
        a_change("wanted-gone", "remove"), a_change("zeta"),
    ]  # fmt: skip
    removals, asked, extra = sections(items)
    assert [one["name"] for one in removals] == ["gone", "wanted-gone"]
    assert [one["name"] for one in asked] == ["alpha", "zeta"]
    assert [one["name"] for one in extra] == ["extra"]
    assert sentence(items) == "2 asked for, 1 more with them, 2 removed"
    assert "nothing" in sentence([])
    assert (
        sentence([a_change("a", asked=False), a_change("b", asked=False)], "security")
        == "2 found by the host"
    )
    output, out, err = piped()
    show_plan(output, a_plan(*items), a_plan_entry(needs_confirmation=True))
    text = out.getvalue()
    assert DIGEST in text
    assert text.index("gone:amd64") < text.index("alpha:amd64") < text.index("extra:amd64")
    assert "must be confirmed" in text
    show_plan(
        output,
        a_plan(),
        a_plan_entry(confirmed_at="2026-03-01T12:00:00Z", confirmed_by="eve"),
        to_stderr=True,
    )
    assert "Confirmed by eve" in err.getvalue()


def test_removals_are_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    show_plan(
        Output(terminal, Terminal(), Format.TABLE),
        a_plan(a_change("gone", "remove", asked=False)),
        a_plan_entry(),
    )
    assert "\x1b[31mgone:amd64" in terminal.getvalue()


def test_exit_codes_never_change() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 130, 141]


IDENTITY = "0198f000-0000-7000-8000-000000000001"


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int, *, spare: bool) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    columns = [
        Column("Host", whole=True), Column("State", whole=True), Column("OS"), Column("Updates", right=True),
        Column("Seen", whole=True), Column("Id", whole=True, spare=spare),
    ]  # fmt: skip
    row = ["web-04", "active", "Debian GNU/Linux 12 (bookworm)", "136", "2 s ago", IDENTITY]
    Output(terminal, Terminal(), Format.TABLE).table(columns, [row])
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_a_terminal_of_any_width_cuts_nothing_that_is_whole(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = on_terminal(monkeypatch, width, spare=False)
    for whole in ("Updates", "web-04", "active", "136", "2 s ago", IDENTITY):
        assert whole in text
    squeezed = "".join(line[14:38] for line in text.splitlines()).replace(" ", "")
    assert "bookworm" in squeezed or "bookworm" in text.replace("\n", "").replace(" ", "")


def test_a_spare_column_is_there_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in range(40, 140):
        text = on_terminal(monkeypatch, width, spare=True)
        assert (IDENTITY in text) == ("Id" in text.splitlines()[0])
        assert "0198f000" not in text.replace(IDENTITY, "")
    assert IDENTITY not in on_terminal(monkeypatch, 70, spare=True)
    assert IDENTITY in on_terminal(monkeypatch, 120, spare=True)


def test_in_a_spreadsheet_nothing_is_an_empty_cell() -> None:
    output, out, _ = piped(Format.CSV)
    output.table((Column("A"), Column("B")), [["-", Styled("-5", "")]])
    assert out.getvalue().splitlines()[1] == '"","\'-5"'
