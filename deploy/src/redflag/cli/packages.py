"""Packages as one writes them on the command line, and as the API wants them. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redflag.cli.problems import UsageRefusedError

_DEBIAN: Final = (
    "all",
    "any",
    "amd64",
    "arm64",
    "armel",
    "armhf",
    "i386",
    "mips64el",
    "ppc64el",
    "riscv64",
    "s390x",
)
_RPM: Final = ("noarch", "x86_64", "aarch64", "i686", "ppc64le")
_ARCHITECTURES: Final = frozenset((*_DEBIAN, *_RPM))

Package = dict[str, Any]


def parse_package(text: str, manager: str | None = None) -> Package:
    """Return the package of `NAME`, `NAME:ARCH`, `NAME=VERSION` or `NAME:ARCH=VERSION`.

    What follows a colon is an architecture only when it is one, since image names have colons too.

    Args:
        text: as written.
        manager: the package manager; None for any.

    Raises:
        UsageRefusedError: there is no name, or an empty version.
    """
    name, equals, version = text.partition("=")
    stem, _, arch = name.rpartition(":")
    found: Package = {"name": name}
    if stem and arch in _ARCHITECTURES:
        found = {"name": stem, "arch": arch}
    if not found["name"] or (equals and not version):
        raise UsageRefusedError(f"{text!r} is no package", ["write NAME, NAME:ARCH or NAME=VERSION"])
    if version:
        found["version"] = version
    if manager is not None:
        found["manager"] = manager
    return found


def parse_packages(texts: Iterable[str], manager: str | None = None) -> list[Package]:
    """Return all of them, each once.

    Raises:
        UsageRefusedError: as `parse_package`.
    """
    found: list[Package] = []
    for text in texts:
        package = parse_package(text, manager)
        if package not in found:
            found.append(package)
    return found


def fits(package: Package, reference: Package) -> bool:
    """Tell whether a package of a plan is the one written."""
    return all(
        reference.get(part) == package[part] for part in ("name", "arch", "version") if part in package
    )


def is_exactly(wanted: Sequence[Package], request: Sequence[Package]) -> bool:
    """Tell whether a plan was asked for exactly these packages: each fits one of it, and none is left over."""
    if len(wanted) != len(request):
        return False
    used: set[int] = set()
    for package in wanted:
        match = next((n for n, one in enumerate(request) if n not in used and fits(package, one)), None)
        if match is None:
            return False
        used.add(match)
    return True
