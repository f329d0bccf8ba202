r"""Rows of CSV (RFC 4180) that a spreadsheet may open: no cell is taken for a formula. Pure.

Texts of hosts stand in exports, and a spreadsheet runs what begins with ``=``, ``+``, ``-``, ``@``, TAB or CR. Such
a text gets a leading ``'``, which spreadsheets show as text and hide; whoever reads the CSV with a program removes
one leading ``'`` before these signs (`plain` does). Every cell is quoted, so neither separators nor line breaks of a
text end its cell; U+0000 and the other signs that steer a terminal, TAB and line breaks aside, are written as what
they are, for example ``\x1b``.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

LINE_END: Final = "\r\n"

# A text that has our sign already gets another, so that `plain` brings it back. Spreadsheets also skip blanks,
# and take the wide forms of the signs for the signs.
_LEADING: Final = re.compile("'*[ \u00a0\u3000\n]*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def cell(value: object) -> str:
    """Return a value as one cell, quoted.

    Args:
        value: None is empty; a boolean is ``yes`` or ``no``; a number is itself, a negative one too, because a
            number cannot be a formula; a time is RFC 3339; a list is its texts with ``; `` between them, a mapping
            ``name=value`` likewise, by name; anything else is its text.
    """
    if value is None:
        return '""'
    if isinstance(value, bool):
        return '"yes"' if value else '"no"'
    if isinstance(value, int | float):
        return f'"{value}"'
    return '"' + safe(_text(value)).replace('"', '""') + '"'


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return "; ".join(
            f"{name}={_text(one)}" for name, one in sorted(value.items(), key=lambda pair: str(pair[0]))
        )
    if isinstance(value, list | tuple | set | frozenset):
        return "; ".join(_text(one) for one in value)
    return str(value)


def safe(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula and no terminal for a command."""
    shown = _STEERING.sub(lambda found: _shown(ord(found[0])), text)
    return f"'{shown}" if _LEADING.match(shown) else shown


def plain(text: str) -> str:
    """Return what a cell read back says, without the ``'`` that `safe` put before it."""
    return text[1:] if text[:1] == "'" and _LEADING.match(text[1:]) else text


def _shown(code: int) -> str:
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - two hexadecimal digits


def row(values: Iterable[object]) -> str:
    """Return one row with its line end."""
    return ",".join(map(cell, values)) + LINE_END
