"""A private apt root with a repository of its own: real apt-get, real dpkg, and a host that is never touched.

Works for root and for anybody else. Everything lives below one directory::

    root/       what apt and dpkg take for `/` (status, lists, caches, sources, installed files)
    repo/       a repository as a local directory, with the suites `bed` and `bed-security`
    apt.conf    the file for the APT_CONFIG environment variable; without it nothing here has any effect

The repository is not signed and its source says `[trusted=yes]`, unless it is built with `signed`: then a key made for
it signs every Release file, and the source names that key.
`save` and `restore` bring a bed back to where it was, much faster than building it again.
Usable outside pytest: `bed = build_bed(directory)`, then publish, refresh, install.
"""

import copy
import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.apt_bed_parts import config, dpkg_options, run, stanza
from tests.support.apt_signing import ReleaseSigner

APT_GET = "/usr/bin/apt-get"
APT_MARK = "/usr/bin/apt-mark"
DPKG = "/usr/bin/dpkg"
DPKG_DEB = "/usr/bin/dpkg-deb"
DPKG_QUERY = "/usr/bin/dpkg-query"
SUITE = "bed"
SECURITY_SUITE = "bed-security"


def missing_tools() -> str | None:
    """Why no bed can be built here, or None when it can."""
    missing = [tool for tool in (APT_GET, DPKG, DPKG_DEB, DPKG_QUERY) if not Path(tool).exists()]
    return f"not on this machine: {', '.join(missing)}" if missing else None


def require_tools() -> None:
    """In a test: fail where the test must run (CI), skip with the reason elsewhere."""
    import pytest  # noqa: PLC0415 - the bed is used outside pytest as well

    reason = missing_tools()
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True, kw_only=True)
class _Published:
    suite: str
    stanza: str
    path: Path


@dataclass
class AptBed:
    """One bed. `config` is the path for APT_CONFIG, `native` the architecture of the machine."""

    directory: Path
    native: str
    locking: bool = False
    signer: ReleaseSigner | None = None
    method: str = "file"
    _published: dict[tuple[str, str, str], _Published] = field(default_factory=dict)
    _saved: dict[tuple[str, str, str], _Published] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def repo(self) -> Path:
        return self.directory / "repo"

    @property
    def _away(self) -> Path:
        return self.directory / "repo.away"

    @property
    def config(self) -> Path:
        return self.directory / "apt.conf"

    @property
    def env(self) -> dict[str, str]:
        """The environment in which apt's programs see the bed and nothing of the host's configuration."""
        return {
            "APT_CONFIG": str(self.config),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }

    # --- the repository ---------------------------------------------------------------------------------

    def publish(
        self,
        name: str,
        version: str,
        *,
        arch: str = "all",
        depends: str = "",
        conflicts: str = "",
        files: Mapping[str, str] | None = None,
        conffiles: Mapping[str, str] | None = None,
        scripts: Mapping[str, str] | None = None,
        security: bool = False,
        phased: int | None = None,
        fields: Mapping[str, str] | None = None,
        write_indices: bool = True,
    ) -> None:
        """Build a package and put it into the repository (not yet into the bed's lists: see `refresh`).

        Args:
            name, version, arch: the package.
            depends, conflicts: fields as in a control file.
            files, conffiles: contents by path relative to the root.
            scripts: bodies of maintainer scripts by name (`postinst`, ...), run by /bin/sh.
            security: publish in the security suite.
            phased: the archive's Phased-Update-Percentage.
            fields: further control fields.
            write_indices: whether the repository shows the package at once.
        """
        control = {
            "Package": name,
            "Version": version,
            "Architecture": arch,
            "Maintainer": "Bed <bed@example.org>",
            "Section": "misc",
            "Priority": "optional",
            "Depends": depends,
            "Conflicts": conflicts,
            "Description": f"test package {name}",
            **(fields or {}),
        }
        suite = SECURITY_SUITE if security else SUITE
        path = self._build_package(control, files or {}, conffiles or {}, scripts or {})
        data = path.read_bytes()
        index_fields = {
            **control,
            "Phased-Update-Percentage": "" if phased is None else str(phased),
            "Filename": str(path.relative_to(self.repo)),
            "Size": str(len(data)),
            "SHA256": hashlib.sha256(data).hexdigest(),
        }
        self._published[(name, version, arch)] = _Published(
            suite=suite, stanza=stanza(index_fields), path=path
        )
        if write_indices:
            self._write_indices()

    def publish_many(self, packages: Iterable[tuple[str, str]]) -> None:
        """Publish plain packages, (name, version) each, with one writing of the indices."""
        for name, version in packages:
            self.publish(name, version, write_indices=False)
        self._write_indices()

    def size(self, name: str, version: str, *, arch: str = "all") -> int:
        """Bytes of a published package file."""
        return self._published[(name, version, arch)].path.stat().st_size

    def withdraw(self, name: str, version: str, *, arch: str = "all") -> None:
        """Take a version out of the repository, as archives do when a newer one comes."""
        self._published.pop((name, version, arch)).path.unlink()
        self._write_indices()

    def take_mirror_away(self) -> None:
        """Make the repository unreachable; `bring_mirror_back` undoes it."""
        self.repo.rename(self._away)

    def bring_mirror_back(self) -> None:
        self._away.rename(self.repo)

    def _build_package(
        self,
        control: Mapping[str, str],
        files: Mapping[str, str],
        conffiles: Mapping[str, str],
        scripts: Mapping[str, str],
    ) -> Path:
        tree = self.directory / "build"
        shutil.rmtree(tree, ignore_errors=True)
        meta = tree / "DEBIAN"
        meta.mkdir(parents=True, mode=0o755)
        (meta / "control").write_text(stanza(control))
        marker = f"usr/share/{control['Package']}/version"
        for name, content in {marker: control["Version"] + "\n", **files, **conffiles}.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        if conffiles:
            (meta / "conffiles").write_text("".join(f"/{name}\n" for name in conffiles))
        for name, body in scripts.items():
            (meta / name).write_text(f"#!/bin/sh\nset -e\n{body}\n")
            (meta / name).chmod(0o755)
        pool = self.repo / "pool"
        pool.mkdir(exist_ok=True)
        version = control["Version"].replace(":", "%3a")
        target = pool / f"{control['Package']}_{version}_{control['Architecture']}.deb"
        run(
            [DPKG_DEB, "--root-owner-group", "-Znone", "--build", str(tree), str(target)],
            {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )
        shutil.rmtree(tree)
        return target

    def _write_indices(self) -> None:
        for suite in (SUITE, SECURITY_SUITE):
            stanzas = [one.stanza for one in self._published.values() if one.suite == suite]
            place = self.repo / "dists" / suite
            index = place / "main" / f"binary-{self.native}" / "Packages"
            index.parent.mkdir(parents=True, exist_ok=True)
            text = "\n".join(stanzas).encode()
            packed = gzip.compress(text, mtime=0)
            index.write_bytes(text)
            index.with_suffix(".gz").write_bytes(packed)
            listing = "".join(
                f" {hashlib.sha256(data).hexdigest()} {len(data)} {path.relative_to(place)}\n"
                for path, data in ((index, text), (index.with_suffix(".gz"), packed))
            )
            (place / "Release").write_text(
                f"Origin: Debian\nLabel: Bed\nSuite: {suite}\nCodename: {suite}\nComponents: main\n"
                f"Architectures: {self.native}\nDate: Sat, 21 Nov 2026 00:00:00 UTC\nSHA256:\n{listing}"
            )
            if self.signer is not None:
                self.signer.sign(place / "Release")

    # --- its state --------------------------------------------------------------------------------------

    def save(self) -> None:
        """Remember everything as it is, for `restore`."""
        saved = self.directory / "saved"
        shutil.rmtree(saved, ignore_errors=True)
        for place in (self.root, self.repo, self._away):
            if place.exists():
                shutil.copytree(place, saved / place.name, symlinks=True)
        self._saved = copy.copy(self._published)

    def restore(self) -> None:
        """Bring everything back to the last `save`, whatever happened since."""
        for place in (self.root, self.repo, self._away):
            shutil.rmtree(place, ignore_errors=True)
            saved = self.directory / "saved" / place.name
            if saved.exists():
                shutil.copytree(saved, place, symlinks=True)
        self._published = copy.copy(self._saved)

    # --- the private root -------------------------------------------------------------------------------

    def apt(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The real apt-get in the bed, without any of the product's options."""
        return run([APT_GET, "-q", *arguments], self.env, check=check)

    def refresh(self) -> None:
        """apt-get update."""
        self.apt("update")

    def install(self, name: str, version: str | None = None) -> None:
        """Install directly, to prepare a scene."""
        self.apt("install", "-y", "--allow-downgrades", f"{name}={version}" if version else name)

    def hold(self, name: str) -> None:
        run([APT_MARK, "hold", name], self.env)

    def unhold(self, name: str) -> None:
        run([APT_MARK, "unhold", name], self.env)

    def pin(self, text: str, name: str = "pin") -> None:
        """Write a preferences file."""
        self.path(f"etc/apt/preferences.d/{name}").write_text(text)

    def dpkg(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The real dpkg on the bed's root."""
        return run([DPKG, *dpkg_options(self.root), *arguments], self.env, check=check)

    def everything(self) -> dict[str, str]:
        """What dpkg itself says of every package that is there: `2.0`, or `2.0 half-configured`."""
        shown = run(
            [DPKG_QUERY, f"--admindir={self.root}/var/lib/dpkg", "-W",
             "-f", "${Package} ${Version} ${db:Status-Status}\n"],
            self.env,
        ).stdout  # fmt: skip
        rows = [line.split() for line in shown.splitlines()]
        return {
            row[0]: row[1] if row[2] == "installed" else f"{row[1]} {row[2]}"
            for row in rows
            if len(row) == 3 and row[2] not in {"not-installed", "config-files"}
        }

    def mark_auto(self, name: str) -> None:
        run([APT_MARK, "auto", name], self.env)

    def auto(self) -> set[str]:
        """Packages marked as installed automatically."""
        return set(run([APT_MARK, "showauto"], self.env).stdout.split())

    def installed(self, name: str) -> str | None:
        """The installed and configured version, as dpkg itself says, or None."""
        status = self.status(name)
        return status[1] if status is not None and status[0] == "installed" else None

    def status(self, name: str) -> tuple[str, str] | None:
        """dpkg's status word and version of a package, or None when dpkg does not know it."""
        result = run(
            [DPKG_QUERY, f"--admindir={self.root}/var/lib/dpkg", "-W",
             "-f", "${db:Status-Status} ${Version}\n", name],
            self.env,
            check=False,
        )  # fmt: skip
        if result.returncode != 0:
            return None
        word, _, version = result.stdout.strip().partition(" ")
        return None if word in {"not-installed", "config-files"} else (word, version)

    def path(self, name: str) -> Path:
        """A file of the private root."""
        return self.root / name.lstrip("/")

    @staticmethod
    def age(path: Path, seconds: int) -> None:
        """Make a file look as old as that."""
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))

    def require_reboot(self) -> None:
        """What a kernel package does after its installation."""
        self.path("var/run/reboot-required").write_text("*** System restart required ***\n")


def build_bed(
    directory: Path, *, locking: bool = False, signed: bool = False, method: str = "file"
) -> AptBed:
    """Make an empty bed in `directory`, which need not exist.

    Args:
        directory: where.
        locking: whether apt takes its locks.
        signed: whether the repository is signed.
        method: `file`, or `copy`, with which apt keeps what it fetched in its package cache as it does with http.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    native = run([DPKG, "--print-architecture"], {"PATH": "/usr/bin:/bin"}).stdout.strip()
    signer = ReleaseSigner(directory / "gpg") if signed else None
    bed = AptBed(directory=directory, native=native, locking=locking, signer=signer, method=method)
    for name in (
        "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/dpkg/alternatives",
        "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt", "var/run",
        "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d", "tmp",
    ):  # fmt: skip
        bed.path(name).mkdir(parents=True, exist_ok=True)
    bed.repo.mkdir(exist_ok=True)
    bed.path("var/lib/dpkg/status").touch()
    bed.path("var/lib/dpkg/available").touch()
    trust = "trusted=yes"
    if signer is not None:
        key = bed.path("etc/apt/bed.gpg")
        key.write_bytes(signer.public_key)
        trust = f"signed-by={key}"
    bed.path("etc/apt/sources.list").write_text(
        "".join(f"deb [{trust}] {method}:{bed.repo} {suite} main\n" for suite in (SUITE, SECURITY_SUITE))
    )
    bed.config.write_text(config(bed.root, native, locking=locking))
    bed._write_indices()
    return bed


def build_bed_with_updates(directory: Path) -> AptBed:
    """A bed for whole-path tests: `alpha` and `beta` 1.0 installed and 2.0 offered; beta 2.0 needs `gamma`."""
    bed = build_bed(directory)
    bed.publish("alpha", "1.0")
    bed.publish("beta", "1.0")
    bed.refresh()
    bed.install("alpha")
    bed.install("beta")
    bed.publish("alpha", "2.0", security=True)
    bed.publish("beta", "2.0", depends="gamma (>= 1.0)")
    bed.publish("gamma", "1.0")
    return bed
