"""Which names, architectures and versions may reach apt's argument vector.

apt-get gives meaning to more than names: `sed-` removes sed, `a.` is a regular expression over every package,
`sed/unstable` changes the release, `./x.deb` installs a file; `--` protects from none of that
(docs/protocol.md section 3: no free text reaches argv). So:
1. Each part must match its pattern as a whole (`fullmatch`: `match` with `$` lets a final newline pass), in
   ASCII.
2. What is passed is always `name:arch=version`, and the caller has found it in the host's own fresh inventory.

The name's pattern follows Debian Policy 5.6.1 and refuses a final `-`, which is never part of a real name. A
final `+` must be allowed (`g++`): the `=version` behind it keeps it from being read as a request. A version that
ends with `-` is refused, because apt could take that sign for itself. Rules only.
"""

import re

from redflag_scanner_agent.packages.errors import NameRefusedError

_NAME = re.compile(r"[a-z0-9][a-z0-9+.\-]{0,126}[a-z0-9+.]", re.ASCII)
_ARCH = re.compile(r"[a-z0-9](?:[a-z0-9\-]{0,29}[a-z0-9])?", re.ASCII)
# Debian Policy 5.6.12: epoch, upstream version beginning with a digit, revision. Some archives begin the
# upstream version with a letter, which dpkg accepts with a warning; such versions are refused here.
_VERSION = re.compile(r"(?:[0-9]{1,9}:)?[0-9](?:[A-Za-z0-9.+~\-:]{0,199}[A-Za-z0-9.+~])?", re.ASCII)


def check_name(name: str) -> str:
    """Return `name` when it can be nothing but a package's name.

    Raises:
        NameRefusedError: otherwise.
    """
    if _NAME.fullmatch(name) is None:
        raise NameRefusedError(f"not a package name: {name[:80]!r}")
    return name


def check_arch(arch: str) -> str:
    """Return `arch` when it is written like a Debian architecture (`amd64`, `all`, `musl-linux-amd64`).

    Raises:
        NameRefusedError: otherwise.
    """
    if _ARCH.fullmatch(arch) is None:
        raise NameRefusedError(f"not an architecture: {arch[:80]!r}")
    return arch


def check_version(version: str) -> str:
    """Return `version` when it is written like a Debian version.

    Raises:
        NameRefusedError: otherwise.
    """
    if _VERSION.fullmatch(version) is None:
        raise NameRefusedError(f"not a version: {version[:80]!r}")
    return version


def pinned(name: str, arch: str, version: str) -> str:
    """The one form in which a package to install is passed to apt.

    Raises:
        NameRefusedError: one of the three is not written as it must be.
    """
    return f"{check_name(name)}:{check_arch(arch)}={check_version(version)}"


def removed(name: str, arch: str) -> str:
    """The form in which a removal that is part of an approved plan is passed to apt.

    Raises:
        NameRefusedError: one of the two is not written as it must be.
    """
    return f"{check_name(name)}:{check_arch(arch)}-"
