import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redflag.cli.terminal_text import one_line, safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[31m", "\\x1b[2J\\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("\x1b]8;;http://evil\x1b\\", "\\x1b]8;;http://evil\\x1b\\"),
        ("a\rb\x08\x00\x7f", "a\\x0db\\x08\\x00\\x7f"),
        ("invoice\u202etxt.exe", "invoice\\u202etxt.exe"),
        ("\u2066a\u2069\u200f", "\\u2066a\\u2069\\u200f"),
        ("lib\u200bssl\ufeff", "lib\\u200bssl\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("[red]b[/red] {{7*7}} <script>", "[red]b[/red] {{7*7}} <script>"),
        ("naïve 日本 é", "naïve 日本 é"),
    ],
)
def test_what_could_steer_a_terminal_is_shown(text: str, shown: str) -> None:
    assert safe(text) == shown
    assert one_line(text) == shown


def test_newline_and_tab_pass_only_where_lines_may() -> None:
    assert safe("a\tb\nc") == "a\tb\nc"
    assert one_line("a\tb\nc") == "a\\x09b\\x0ac"


@given(st.text(st.characters(codec=None, categories=None)))
def test_nothing_that_steers_comes_through(text: str) -> None:
    shown = one_line(text)
    shown.encode("utf-8")
    assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [one for one in shown if unicodedata.bidirectional(one) in ("LRE", "RLE", "LRO", "RLO", "PDF",
                                                                           "LRI", "RLI", "FSI", "PDI")]  # fmt: skip
    assert one_line(shown) == shown
