"""Makes text from hosts safe to print on a terminal.

Guarantees: nothing that comes out moves the cursor, changes colours, sets titles, rings or turns the reading
direction round: control characters (C0, DEL, C1) are shown as `\\xNN`, bidirectional controls and line
separators as `\\uNNNN`, lone surrogates too. Newline and tab stay in text of several lines only.
"""

import re
from typing import Final

# LRE RLE PDF LRO RLO, LRI RLI FSI PDI, LRM RLM ALM, line and paragraph separators, the tag characters' plane
# that hides text, zero-width no-break space.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_BREAKS: Final = re.compile("[\n\t]")


def _shown(match: "re.Match[str]") -> str:
    number = ord(match.group())
    if number <= 0xFF:  # noqa: PLR2004 - what two digits can show
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - four digits


def block(text: str) -> str:
    """Text of several lines, made safe; newlines and tabs stay."""
    return _UNSAFE.sub(_shown, text.replace("\r\n", "\n"))


def line(value: object) -> str:
    """One line, made safe; None is a dash."""
    if value is None:
        return "-"
    return _LINE_BREAKS.sub(_shown, block(str(value)))
