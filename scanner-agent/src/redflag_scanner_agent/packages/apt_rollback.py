"""Finding the older version that a package is to return to: in an archive, or in this host's own package cache.

Guarantees:
1. Nothing but a name, an architecture and a version comes from the server; the file is found here, in apt's own
   directory of downloaded packages, under the name that apt gives it.
2. Such a file counts only when nobody but root (or this process's user) can have written it, and when it says
   itself that it is this package in this version.
3. An archive that still offers the version is preferred: apt then checks what it fetches.
"""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redflag_scanner_agent.packages.apt_names import check_arch, check_name, check_version, pinned
from redflag_scanner_agent.packages.apt_run import AptRunner
from redflag_scanner_agent.packages.apt_survey import WITHOUT_PINS, Survey, read_candidates
from redflag_scanner_agent.packages.apt_versions import compare
from redflag_scanner_agent.packages.errors import HeldError, NotAvailableError
from redflag_wire.command_params import PackageRef

CACHED = "localhost/var/cache/apt/archives"  # the origin of a plan's item that comes from the package cache
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a version is: in an archive (`file` is None), or in a file of the package cache."""

    ref: PackageRef
    file: Path | None

    @property
    def argument(self) -> str:
        """The form in which it is passed to apt."""
        return (
            str(self.file)
            if self.file is not None
            else pinned(self.ref.name, self.ref.arch, self.ref.version)
        )


async def locate(runner: AptRunner, request: Sequence[PackageRef], found: Survey) -> list[Place]:
    """Where each requested older version is.

    Raises:
        NameRefusedError: an entry is not written like a package.
        HeldError: an entry is held on this host.
        NotAvailableError: `not_installed`, `not_older`, or `not_available`: the version is nowhere any more.
    """
    states = found.states
    keys = {(ref.name, states.package_arch(ref.arch)) for ref in request}
    # A pin may keep every version from being a candidate; the table must be seen all the same.
    tables = await read_candidates(runner, keys, found.sources, states.native, [], options=WITHOUT_PINS)
    places = []
    for ref in request:
        text = f"{check_name(ref.name)}:{check_arch(ref.arch)} {check_version(ref.version)}"
        state = states.get(ref.name, ref.arch)
        if state is None or not state.present:
            raise NotAvailableError(f"{ref.name}:{ref.arch} is not installed", code="not_installed")
        if state.held:
            raise HeldError(f"held on this host: {ref.name}:{ref.arch}")
        if compare(ref.version, state.version) >= 0:
            raise NotAvailableError(
                f"{text} is not older than the {state.version} that is installed", code="not_older"
            )
        table = tables.get((ref.name, states.package_arch(ref.arch)))
        if table is not None and table.sources_of(ref.version):
            places.append(Place(ref=ref, file=None))
            continue
        file = await cached_file(
            runner, name=ref.name, version=ref.version, archs={ref.arch, states.native, "all"}
        )
        if file is None:
            raise NotAvailableError(
                f"{text} is not to be had any more: no archive of this host offers it and it is not in apt's "
                f"package cache"
            )
        places.append(Place(ref=ref, file=file))
    return places


async def cached_file(runner: AptRunner, *, name: str, version: str, archs: Iterable[str]) -> Path | None:
    """The file of exactly this package in apt's cache of downloaded packages, or None.

    Raises:
        NameRefusedError: one of the parts is not written as it must be.
    """
    directory = (await runner.root()).archives
    if not _only_ours(directory, stat.S_ISDIR):
        return None
    for arch in sorted(archs):
        file = (
            directory
            / f"{check_name(name)}_{check_version(version).replace(':', '%3a')}_{check_arch(arch)}.deb"
        )
        if _only_ours(file, stat.S_ISREG) and await runner.deb_fields(file) == [name, arch, version]:
            return file
    return None


def _only_ours(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        about = os.lstat(path)
    except OSError:
        return False
    return (
        is_kind(about.st_mode)
        and about.st_uid in {0, os.geteuid()}
        and not about.st_mode & _WRITABLE_BY_OTHERS
    )
