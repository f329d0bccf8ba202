"""Small files of the kernel and of packages, read within bounds, and texts of strangers made fit for the wire.

Process names, mount points and disk models are chosen by whoever uses or builds the machine: they may hold anything.
"""

import os
import re
import stat
import unicodedata
from pathlib import Path

from redflag_wire import limits

FILE_MAX_BYTES = 256 * 1024

_DECEIVING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def read_text(path: Path, max_bytes: int = FILE_MAX_BYTES) -> str | None:
    """Return a file's text as far as `max_bytes`, None when it cannot be read. Bad UTF-8 is replaced.

    Pipes, directories and devices that lie in a file's place are no files.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as stream:
        try:
            return stream.read(max_bytes).decode("utf-8", "replace")
        except OSError:
            return None


def clean(text: str, max_bytes: int = limits.LINE_MAX_BYTES) -> str:
    """Return a text as one readable line of at most `max_bytes` bytes in normal form C; may be empty."""
    plain = _DECEIVING.sub("?", text.encode("utf-8", "replace").decode())
    return unicodedata.normalize("NFC", plain).encode()[:max_bytes].decode("utf-8", "ignore")


def clean_name(text: str) -> str | None:
    """Return a text as a name, None when nothing is left of it."""
    return clean(text.strip(), limits.NAME_MAX_BYTES) or None


def whole(text: str | None) -> int | None:
    """Return a count the wire takes, None for anything else."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > limits.NUMBER_MAX_CHARS:
        return None
    number = int(text)
    return number if number < limits.INTEGER_LIMIT else None


def milli(text: str | None) -> int | None:
    """Return a decimal number times 1,000, None for what is none; `0.25` is 250."""
    if text is None or re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text, re.ASCII) is None:
        return None
    return round(float(text) * 1000)
