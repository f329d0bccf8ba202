"""Files that are either there whole or not there at all, whatever happens to the power.

A file is written under another name, synced, renamed, and its directory synced. The mode is set before anything
is in it and does not depend on the umask.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

SECRET = 0o600
PUBLIC = 0o644


def write_durable(path: Path, data: bytes, *, mode: int = SECRET) -> None:
    """Replace the file `path` with `data`.

    Raises:
        OSError: it cannot be written; the old content is untouched.
    """
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def load_or_make(path: Path, make: Callable[[], str]) -> str:
    """Return the text in `path`; on the first call make it and write it there, for the owner only.

    Raises:
        OSError: it can be neither read nor written.
        UnicodeDecodeError: what is there is not text.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        text = make()
        write_durable(path, text.encode("ascii") + b"\n")
        return text


def make_directory(path: Path, *, mode: int) -> None:
    """Make a directory (its parents too) with exactly this mode; one that is there keeps its own."""
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=mode)
    path.chmod(mode)  # the umask may have taken bits away
