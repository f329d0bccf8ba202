"""What exactly runs: the release, and the build it comes from. Nothing here is ever made up.

The build is what was written into the package when it was made (`BAKED`, one line: a commit), else the commit that
is checked out where the package runs from its sources; None when neither can be told. Of a checkout only the commit
is known, not what was changed since.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

BAKED: Final = Path(__file__).parent / "build.txt"
"""Written by whoever makes a package or an image: `git rev-parse HEAD > build.txt`."""

_HERE_IN_REPOSITORY: Final = Path("libs/ops/src/redflag_ops")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFERENCE: Final = re.compile(r"ref: (refs/[A-Za-z0-9._/-]{1,200})")
_FILE_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Build:
    """Where the running code comes from.

    Attributes:
        commit: full id of the commit.
        source: `package` when it was written into the package, `checkout` when it is what is checked out.
    """

    commit: str
    source: str


def release(package: str) -> str:
    """The version of an installed package, `dev` when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "dev"


@cache
def build() -> Build | None:
    """The build that runs; looked up once, so a checkout that moves on is not taken for the code in memory."""
    return find_build(BAKED, Path(__file__).parent)


def find_build(baked: Path, package: Path) -> Build | None:
    """The build of a package.

    Args:
        baked: the file written when the package was made, if it was.
        package: the folder the package's code lies in.
    """
    written = _read(baked)
    if written is not None and _COMMIT.fullmatch(written):
        return Build(written, "package")
    parts = len(_HERE_IN_REPOSITORY.parts)
    if package.parts[-parts:] != _HERE_IN_REPOSITORY.parts:
        return None
    commit = _checked_out(package.parents[parts - 1])
    return None if commit is None else Build(commit, "checkout")


def _checked_out(root: Path) -> str | None:
    git = root / ".git"
    told = _read(git) if git.is_file() else None
    if told is not None and told.startswith("gitdir: "):  # a further working tree of a repository
        git = (root / told.removeprefix("gitdir: ")).resolve()
    head = _read(git / "HEAD")
    if head is None or _COMMIT.fullmatch(head):
        return head
    named = _REFERENCE.fullmatch(head)
    if named is None or ".." in named[1]:
        return None
    common = _read(git / "commondir")
    shared = git if common is None else (git / common).resolve()
    for place in dict.fromkeys((git, shared)):
        commit = _read(place / named[1])
        if commit is not None and _COMMIT.fullmatch(commit):
            return commit
    for line in (_read(shared / "packed-refs") or "").splitlines():
        commit, _, name = line.partition(" ")
        if name == named[1] and _COMMIT.fullmatch(commit):
            return commit
    return None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_MAX_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
