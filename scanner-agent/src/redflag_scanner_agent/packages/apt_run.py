"""Starting apt's and dpkg's programs: which, with what environment and which options, on which root.

Guarantees: absolute paths only; the environment is made from nothing; no simulation, query or refresh can ask a
question; the private root of an APT_CONFIG file is used by every program or by none.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redflag_scanner_agent.packages.apt_dpkg import FORMAT, DpkgStates, parse_states
from redflag_scanner_agent.packages.apt_parse import error_lines
from redflag_scanner_agent.packages.apt_sources import TARGETS_FORMAT
from redflag_scanner_agent.packages.errors import ConfigRefusedError, OutputRefusedError, ProgramFailedError
from redflag_scanner_agent.packages.process import Finished, run_lasting, run_parsed

APT_GET = "/usr/bin/apt-get"
APT_CACHE = "/usr/bin/apt-cache"
APT_CONFIG = "/usr/bin/apt-config"
APT_MARK = "/usr/bin/apt-mark"
DPKG = "/usr/bin/dpkg"
DPKG_DEB = "/usr/bin/dpkg-deb"
DPKG_QUERY = "/usr/bin/dpkg-query"
PROGRAMS = (APT_GET, APT_CACHE, APT_CONFIG, APT_MARK, DPKG, DPKG_DEB, DPKG_QUERY)

QUERY_TIMEOUT_S = 120.0  # seconds for anything that only reads
REFRESH_TIMEOUT_S = 600.0  # seconds for `apt-get update`
DOWNLOAD_TIMEOUT_S = 7200.0  # seconds for fetching the packages of one installation
LOCK_WAIT_S = 120  # default of the seconds apt waits for another package manager's lock
NAMES_PER_CALL = 1000  # names in one argument vector, so that it stays far below the kernel's limit

# Everywhere: no regular expressions in place of names, no progress bars, no pseudo-terminal, no colours.
COMMON_OPTIONS = (
    "-q",
    "-o", "APT::Cmd::Pattern-Only=true",
    "-o", "Dpkg::Use-Pty=0",
    "-o", "APT::Color=0",
    "-o", "APT::Get::Show-User-Simulation-Note=false",
)  # fmt: skip
REFRESH_OPTIONS = (
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
)
INSTALL_OPTIONS = (
    "-y",
    "-o", "Dpkg::Options::=--force-confdef",
    "-o", "Dpkg::Options::=--force-confold",
    "-o", "Acquire::Retries=1",
)  # fmt: skip
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    # Configuration files that ucf keeps follow the same rule as dpkg's: the host's own version stays.
    "UCF_FORCE_CONFFOLD": "1",
    # A hook that restarts services could restart this agent in the middle of its own transaction.
    "NEEDRESTART_MODE": "l",
}


@dataclass(frozen=True, kw_only=True)
class AptRoot:
    """Where this apt keeps its things, as apt-config resolves it."""

    directory: Path
    status_file: Path
    lists: Path
    native: str
    security_sites: frozenset[str]
    preferences: Path
    preferences_parts: Path
    archives: Path
    dpkg_options: tuple[str, ...]

    @property
    def admin_directory(self) -> Path:
        """The directory of dpkg's database."""
        return self.status_file.parent


class AptRunner:
    """Runs apt's programs on the host, or on the private root that `apt_config` describes.

    Every method raises a `PackageManagerError` when a program cannot be started, runs too long or writes what
    cannot be read.
    """

    def __init__(self, *, apt_config: Path | None, work_dir: Path, lock_wait_s: int = LOCK_WAIT_S) -> None:
        self.lock_wait_s = lock_wait_s
        self._environment = dict(_ENVIRONMENT)
        if apt_config is not None:
            self._environment["APT_CONFIG"] = str(apt_config)
        self._config = apt_config
        self._work_dir = work_dir
        self._root: AptRoot | None = None

    async def root(self) -> AptRoot:
        """The resolved places; read once, because they cannot change under a running agent."""
        if self._root is None:
            self._root = await self._read_root()
        return self._root

    async def get(self, *arguments: str, timeout_s: float = QUERY_TIMEOUT_S) -> Finished:
        """apt-get with the common options; for what changes the host use `install`."""
        return await self._run(APT_GET, *COMMON_OPTIONS, *arguments, timeout_s=timeout_s)

    async def cache(self, *arguments: str) -> Finished:
        """apt-cache with the common options."""
        return await self._run(APT_CACHE, *COMMON_OPTIONS, *arguments)

    async def targets(self) -> Finished:
        """How far apt trusts each index it has, in the form `apt_sources.parse_targets` reads."""
        return await self._run(
            APT_GET, *COMMON_OPTIONS, "indextargets", "--format", TARGETS_FORMAT, "Created-By: Packages"
        )

    async def deb_fields(self, file: Path) -> list[str]:
        """Name, architecture and version that a package file says of itself; empty when it is none."""
        finished = await self._run(
            DPKG_DEB, "--show", r"--showformat=${Package}\n${Architecture}\n${Version}\n", str(file)
        )
        return finished.stdout.split() if finished.exit_code == 0 else []

    async def cache_of(self, command: Sequence[str], names: Sequence[str]) -> str:
        """apt-cache for any number of names, in several calls; names it does not know are left out."""
        texts = []
        for start in range(0, len(names), NAMES_PER_CALL):
            finished = await self.cache(*command, *names[start : start + NAMES_PER_CALL])
            texts.append(finished.stdout)
        return "\n".join(texts)

    async def mark(self, *arguments: str) -> Finished:
        """apt-mark."""
        return await self._run(APT_MARK, *arguments)

    async def dpkg_states(self) -> DpkgStates:
        """What dpkg's whole database says.

        Raises:
            ProgramFailedError: dpkg cannot read it.
        """
        root = await self.root()
        finished = await self._run(
            DPKG_QUERY, f"--admindir={root.admin_directory}", "--show", f"--showformat={FORMAT}"
        )
        # dpkg-query takes a missing database for an empty one, so its presence is checked apart.
        if finished.exit_code != 0 or not root.status_file.is_file():
            raise ProgramFailedError(
                f"dpkg-query cannot read {root.admin_directory}: {finished.stderr.strip()}"
            )
        return parse_states(finished.stdout, root.native)

    async def download(self, *arguments: str) -> Finished:
        """apt-get with the options for changing a host, up to the point where everything is fetched.

        It waits for dpkg's lock and finds an interrupted dpkg, as the real run will, but changes nothing that is
        installed. Cancelling ends it.
        """
        argv = [APT_GET, *COMMON_OPTIONS, *INSTALL_OPTIONS, *self._patience(), "--download-only", *arguments]
        return await self._run(*argv, timeout_s=DOWNLOAD_TIMEOUT_S)

    async def install(self, *arguments: str, timeout_s: float) -> Finished:
        """apt-get for good, with the options for changing a host; a time limit is told by `timed_out`."""
        return await self._lasting(
            APT_GET,
            *COMMON_OPTIONS,
            *INSTALL_OPTIONS,
            *self._patience(),
            *arguments,
            timeout_s=timeout_s,
        )

    async def configure_pending(self, *, timeout_s: float) -> Finished:
        """`dpkg --configure -a`, with the host's own options for dpkg and the same rule for configuration files."""
        root = await self.root()
        options = [*root.dpkg_options, "--force-confdef", "--force-confold"]
        return await self._lasting(
            DPKG, *options, "--configure", "-a", timeout_s=timeout_s, inherit_lock=False
        )

    def _patience(self) -> tuple[str, str]:
        return "-o", f"DPkg::Lock::Timeout={self.lock_wait_s}"

    async def _lasting(self, *argv: str, timeout_s: float, inherit_lock: bool = True) -> Finished:
        self._check_config()
        return await run_lasting(
            list(argv),
            env=self._environment,
            timeout_s=timeout_s,
            directory=self._work_dir,
            inherit_lock=inherit_lock,
        )

    async def _run(self, *argv: str, timeout_s: float = QUERY_TIMEOUT_S) -> Finished:
        self._check_config()
        return await run_parsed(argv, env=self._environment, timeout_s=timeout_s)

    def _check_config(self) -> None:
        # apt only warns of a missing APT_CONFIG file, and would go on with the host itself.
        if self._config is not None and not self._config.is_file():
            raise ConfigRefusedError(f"{self._config} is not there")

    async def _read_root(self) -> AptRoot:
        places = await self._run(
            APT_CONFIG, "shell", "directory", "Dir/d", "status", "Dir::State::status/f",
            "lists", "Dir::State::lists/d", "native", "APT::Architecture",
            "preferences", "Dir::Etc::preferences/f", "parts", "Dir::Etc::preferencesparts/d",
            "archives", "Dir::Cache::archives/d",
        )  # fmt: skip
        listing = (APT_CONFIG, "dump", "--no-empty", "--format", "%v%n")
        sites = await self._run(*listing, "RedFlag::Security-Sites")
        options = await self._run(*listing, "DPkg::Options")
        for finished in (places, sites, options):
            if finished.exit_code != 0:
                raise ProgramFailedError(f"apt-config: {error_lines(finished.stderr)}")
        values = dict(part.partition("=")[::2] for part in shlex.split(places.stdout))
        if self._config is not None and values.get("directory") == "/":
            raise ConfigRefusedError(f"{self._config} leaves Dir at /: it describes no private root")
        try:
            return AptRoot(
                directory=Path(values["directory"]),
                status_file=Path(values["status"]),
                lists=Path(values["lists"]),
                native=values["native"],
                security_sites=frozenset(sites.stdout.split()),
                preferences=Path(values["preferences"]),
                preferences_parts=Path(values["parts"]),
                archives=Path(values["archives"]),
                dpkg_options=tuple(options.stdout.splitlines()),
            )
        except KeyError as error:
            raise OutputRefusedError(f"apt-config does not name {error}") from error
