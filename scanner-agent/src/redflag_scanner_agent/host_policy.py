"""What this host's own administrator allows, whatever anybody signs (docs/protocol.md 5 step 8).

The file is TOML, read anew for every command and every plan:

    kinds = ["scan", "dry_run_update"]      # absent: every kind

    [packages]
    allow = ["*"]                           # shell patterns over package names; absent: every package
    deny = ["linux-*"]                      # wins over allow

The lists are held against everything a plan would touch: what was asked for, what that brings along, and what it
removes. With `allow`, dependencies must therefore be on the list too.

An absent file allows everything. A file that cannot be read or understood, or that somebody else may write,
allows nothing: a typing error must not open what it was meant to close.
"""

import fnmatch
import os
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redflag_wire.command_params import CommandKind

POLICY_MAX_BYTES = 64 * 1024
PATTERNS_MAX = 1_000  # in each list
_TOP_KEYS = {"kinds", "packages"}
_PACKAGE_KEYS = {"allow", "deny"}
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """One reading of the policy.

    Attributes:
        kinds: the kinds allowed.
        allow: patterns a package name must match one of.
        deny: patterns a package name must match none of.
        fault: why nothing is allowed, None when the file is in order or absent.
    """

    kinds: frozenset[CommandKind] = frozenset(CommandKind)
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    fault: str | None = None

    def allows_kind(self, kind: CommandKind) -> bool:
        """Return whether a kind may act on this host."""
        return kind in self.kinds

    def first_refused(self, packages: Iterable[str]) -> str | None:
        """Return the first package name that is not allowed, None when all are."""
        for name in packages:
            allowed = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.allow)
            if not allowed or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.deny):
                return name
        return None


def _nothing(fault: str) -> HostPolicy:
    return HostPolicy(kinds=frozenset(), allow=(), fault=fault)


def _patterns(found: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401 - any TOML value
    if (
        not isinstance(found, list)
        or len(found) > PATTERNS_MAX
        or not all(isinstance(one, str) for one in found)
    ):
        raise ValueError(f"packages.{name} is not a list of at most {PATTERNS_MAX} texts")
    return tuple(found)


def parse_policy(text: str) -> HostPolicy:
    """Return the policy of a file's text; one that says why nothing is allowed when it is wrong."""
    try:
        found = tomllib.loads(text)
        packages = found.get("packages", {})
        if (
            not set(found) <= _TOP_KEYS
            or not isinstance(packages, dict)
            or not set(packages) <= _PACKAGE_KEYS
        ):
            raise ValueError("only kinds and [packages] with allow and deny are known")  # noqa: TRY301
        kinds = found.get("kinds", [kind.value for kind in CommandKind])
        if not isinstance(kinds, list):
            raise ValueError("kinds is not a list")  # noqa: TRY301,TRY004
        return HostPolicy(
            kinds=frozenset(CommandKind(kind) for kind in kinds),
            allow=_patterns(packages.get("allow", ["*"]), "allow"),
            deny=_patterns(packages.get("deny", []), "deny"),
        )
    except (ValueError, tomllib.TOMLDecodeError) as error:
        return _nothing(str(error))


def load_policy(path: Path) -> HostPolicy:
    """Read the policy file.

    Args:
        path: the file; it must belong to this process's user or root and be writable by nobody else.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return HostPolicy()
    except OSError as error:
        return _nothing(f"cannot read {path}: {error.strerror}")
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        return _nothing(f"{path} is not a file")
    with os.fdopen(handle, "rb") as stream:
        data = stream.read(POLICY_MAX_BYTES + 1)
    if about.st_uid not in {0, os.geteuid()} or about.st_mode & _WRITABLE_BY_OTHERS:
        return _nothing(f"{path} can be written by others")
    if len(data) > POLICY_MAX_BYTES:
        return _nothing(f"{path} is longer than {POLICY_MAX_BYTES} bytes")
    try:
        return parse_policy(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _nothing(f"{path} is not UTF-8 text")
