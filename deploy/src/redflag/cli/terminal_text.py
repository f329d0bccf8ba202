r"""Text from hosts and servers, made safe to print on a terminal.

Guarantees: what comes out moves no cursor, changes no colour or title, opens no link, reverses no reading order
and hides nothing. Characters that could are shown as what they are, for example `\x1b`. Everything can be
encoded as UTF-8. Newline and tab pass through `safe` and not through `one_line`.
"""

import re
from typing import Final

_SHOWN: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # reading order
    "\u00ad\u180e\u200b\u2060-\u2064\ufeff"  # nothing to see, so two names look like one
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff"  # halves of characters
    "\ufff9-\ufffb"  # annotations that may be hidden
    "\U000e0000-\U000e007f"  # invisible copies of ASCII
    "]"
)
_LINE: Final = re.compile("[\t\n]")


def safe(text: object) -> str:
    """Return text for a terminal; newlines and tabs stay.

    Args:
        text: anything; what is no text is turned into some.
    """
    return _SHOWN.sub(_show, str(text))


def one_line(text: object) -> str:
    """Return text for one line or one cell of a table: as `safe`, and newlines and tabs are shown too."""
    return _LINE.sub(_show, safe(text))


def _show(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits
