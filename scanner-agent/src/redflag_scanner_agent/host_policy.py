"""What this host's own administrator allows, whatever anybody signs (docs/protocol.md 5 step 8).

The file is TOML, read anew for every command and every plan:

    kinds = ["scan", "dry_run_update"]      # absent: every kind
    allow_reboot = false                    # absent: true, an operator may restart this machine
    repair_interrupted = true               # absent: false, a dpkg that was cut off is left as it is

    [packages]
    allow = ["*"]                           # shell patterns over package names; absent: every package
    deny = ["linux-*"]                      # wins over allow

The lists are held against everything a plan would touch: what was asked for, what that brings along, and what it
removes. With `allow`, dependencies must therefore be on the list too.

`allow_reboot` is true unless it is switched off, because a restart is asked for by a signed and confirmed command
of its own kind; leaving `reboot` out of `kinds` forbids it as well. `repair_interrupted` lets an installation run
`dpkg --configure -a` first where dpkg's last run was cut off; otherwise such an installation is refused with
`dpkg_interrupted`. It is off by default, because finishing somebody else's run starts scripts of packages that the
command does not name.

An absent file allows everything but the repair. A file that cannot be read or understood, or that somebody else may
write, allows nothing: a typing error must not open what it was meant to close. What is wrong is said with its line.
"""

import fnmatch
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redflag_wire.command_params import CommandKind

POLICY_MAX_BYTES = 64 * 1024
PATTERNS_MAX = 1_000  # in each list
_TOP_KEYS = ("kinds", "allow_reboot", "repair_interrupted", "packages")
_PACKAGE_KEYS = ("allow", "deny")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """One reading of the policy.

    Attributes:
        kinds: the kinds allowed.
        allow: patterns a package name must match one of.
        deny: patterns a package name must match none of.
        allow_reboot: whether an operator may restart this machine.
        repair_interrupted: whether a package manager's database that was left half written may be put in order
            before an installation.
        fault: why nothing is allowed, None when the file is in order or absent.
    """

    kinds: frozenset[CommandKind] = frozenset(CommandKind)
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    allow_reboot: bool = True
    repair_interrupted: bool = False
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
    return HostPolicy(kinds=frozenset(), allow=(), allow_reboot=False, repair_interrupted=False, fault=fault)


def _wrong(text: str, key: str, what: str) -> ValueError:
    """The error for a key, with the line it stands on; a key in an inline table has no line of its own."""
    name = rf"""["']?{re.escape(key)}["']?"""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*(?:{name}\s*[.=]|\[{{1,2}}\s*{name}\s*[.\]])", line):
            return ValueError(f"line {number}: {what}")
    return ValueError(what)


def _known(text: str, found: Iterable[str], known: tuple[str, ...], place: str) -> None:
    for key in found:
        if key not in known:
            raise _wrong(text, key, f"{key!r} is not a key {place}; known are {', '.join(known)}")


def _patterns(text: str, found: Any, name: str) -> tuple[str, ...]:  # noqa: ANN401 - any TOML value
    if (
        not isinstance(found, list)
        or len(found) > PATTERNS_MAX
        or not all(isinstance(one, str) for one in found)
    ):
        raise _wrong(text, name, f"packages.{name} is not a list of at most {PATTERNS_MAX} texts")
    return tuple(found)


def _kinds(text: str, found: Any) -> frozenset[CommandKind]:  # noqa: ANN401 - any TOML value
    known = [kind.value for kind in CommandKind]
    if not isinstance(found, list):
        raise _wrong(text, "kinds", "kinds is not a list")
    for one in found:
        if one not in known:
            raise _wrong(text, "kinds", f"{one!r} is not a kind of command; known are {', '.join(known)}")
    return frozenset(CommandKind(one) for one in found)


def _switch(text: str, found: Any, name: str) -> bool:  # noqa: ANN401 - any TOML value
    if not isinstance(found, bool):
        raise _wrong(text, name, f"{name} is neither true nor false")
    return found


def parse_policy(text: str) -> HostPolicy:
    """Return the policy of a file's text; one that says why nothing is allowed, and in which line, when it is wrong."""
    try:
        found = tomllib.loads(text)
        _known(text, found, _TOP_KEYS, "of this file")
        packages = found.get("packages", {})
        if not isinstance(packages, dict):
            raise _wrong(text, "packages", "packages is not a table: write [packages]")
        _known(text, packages, _PACKAGE_KEYS, "of [packages]")
        return HostPolicy(
            kinds=_kinds(text, found.get("kinds", [kind.value for kind in CommandKind])),
            allow=_patterns(text, packages.get("allow", ["*"]), "allow"),
            deny=_patterns(text, packages.get("deny", []), "deny"),
            allow_reboot=_switch(text, found.get("allow_reboot", True), "allow_reboot"),
            repair_interrupted=_switch(text, found.get("repair_interrupted", False), "repair_interrupted"),
        )
    except (ValueError, RecursionError) as error:  # a TOML error is a ValueError and names its line itself
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
