"""The embedded PostgreSQL: made once, started on loopback with a password, safe to start again after any crash.

Guarantees: it never runs as root and never opens a directory it did not make; the superuser's password is asked
for on every connection and is on disk only where the caller keeps it; page checksums are on; a half finished
initialisation is never taken for a cluster (it is made aside and renamed); a process that the last run left
behind in this data directory is ended before a new one starts, and no other process is touched.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redflag.embedded.errors import (
    InitialisationFailedError,
    NoAccountError,
    ServerDiedError,
    UnreachablePathError,
)
from redflag.embedded.launch import Account, Launch, service_account
from redflag.embedded.postgres_binaries import find_bin_dir, reachable_bin_dir
from redflag.embedded.processes import ProcessIdentity, all_processes, end_processes

SUPERUSER = "redflag"
INITDB_DEADLINE_S = 120.0  # a slow disk syncs some 40 MB
LEFTOVER_FAST_S = 10.0  # what a left behind server gets for an orderly stop
LEFTOVER_HARD_S = 5.0  # and then for dying at SIGQUIT, and again at SIGKILL
BUILTIN_LOCALE_MAJOR = 17  # the first version with locales that do not depend on the host's libc

# Durable on purpose; docs/invariants.md I4: what the API confirmed survives a crash.
_SETTINGS = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


def account_or_error() -> Account | None:
    """Return the account to drop to, None when not root.

    Raises:
        NoAccountError: root, and no account to drop to.
    """
    try:
        return service_account()
    except KeyError:
        raise NoAccountError from None


@dataclass(frozen=True)
class PostgresCluster:
    """One data directory and the programs that serve it.

    `data_dir`'s parent must exist and be reachable for `account`. `settings` are added to the server's command
    line, for tests that need no durability.
    """

    data_dir: Path
    bin_dir: Path
    account: Account | None
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def locate(
        cls, data_dir: Path, *, copies: Path, settings: Mapping[str, str] | None = None
    ) -> "PostgresCluster":
        """Find the programs and the account; nothing is made but, where needed, a copy of the programs.

        Raises:
            EmbeddedServerError: a program or an account is missing, or a directory is out of reach.
        """
        account = account_or_error()
        if account is not None:
            closed = account.first_closed(data_dir.parent)
            if closed is not None:
                raise UnreachablePathError(data_dir, closed, account.name)
        bin_dir = reachable_bin_dir(find_bin_dir(), account, copies)
        return cls(data_dir, bin_dir, account, dict(settings or {}))

    @property
    def initialised(self) -> bool:
        """Whether the data directory holds a cluster."""
        return (self.data_dir / "PG_VERSION").is_file()

    def major_version(self) -> int:
        """Ask the server program for its major version.

        Raises:
            EmbeddedServerError: it does not run, or answers something else.
        """
        done = self._run([str(self.bin_dir / "postgres"), "--version"], deadline_s=20)
        try:
            return int(done.stdout.split()[2].split(".")[0].removesuffix("devel"))
        except (IndexError, ValueError):
            raise ServerDiedError(
                "PostgreSQL", done.stderr.strip() or "it does not tell its version"
            ) from None

    def initialise(self, password: str, *, sync: bool = True) -> None:
        """Make the cluster with the superuser `SUPERUSER`; do nothing when there is one.

        Raises:
            InitialisationFailedError: initdb failed; nothing is left behind.
        """
        if self.initialised:
            return
        aside = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        password_file = self._password_file(password)
        locale = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            if self.major_version() >= BUILTIN_LOCALE_MAJOR
            else ["--locale=C"]
        )
        try:
            if self.account is not None:
                os.chown(aside, self.account.uid, self.account.gid)
            done = self._run(
                [
                    str(self.bin_dir / "initdb"),
                    f"--pgdata={aside}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    *locale,
                    "--data-checksums",
                    "--no-instructions",
                    *([] if sync else ["--no-sync"]),
                ],
                deadline_s=INITDB_DEADLINE_S,
            )
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or ["initdb failed without a word"]
                raise InitialisationFailedError(lines[-1])
            if self.data_dir.is_dir():
                self.data_dir.rmdir()  # an empty one; anything else is not ours to replace
            aside.rename(self.data_dir)
        except OSError as error:
            raise InitialisationFailedError(str(error)) from error
        finally:
            password_file.unlink(missing_ok=True)
            shutil.rmtree(aside, ignore_errors=True)

    def launch(self, port: int) -> Launch:
        """Return how to start the server in the foreground on 127.0.0.1; its log goes to standard error."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **_SETTINGS,
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = [str(self.bin_dir / "postgres"), "-D", str(self.data_dir), "-p", str(port), *options]
        return Launch(
            tuple(argv),
            self._environment(),
            account=self.account,
            # Both are the "fast" stop: sessions are ended, a checkpoint is written.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
        )

    def ready(self, pid: int) -> bool:
        """Tell whether the server with this process id says in its lock file that it accepts connections."""
        lines = self._lock_file()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - pidfile.h

    def end_leftovers(self) -> list[int]:
        """End what a killed run left behind in this data directory; return the process ids that were ended.

        A process is ours when it works in the data directory and its program is called postgres. PostgreSQL
        believes a lock file whose process id is in use, be it by some other process (ids are used again) or by
        the zombie of the one that was killed; such a file is removed.
        """
        found = self._leftovers()
        left = end_processes(
            found,
            [
                (signal.SIGINT, LEFTOVER_FAST_S),
                (signal.SIGQUIT, LEFTOVER_HARD_S),
                (signal.SIGKILL, LEFTOVER_HARD_S),
            ],
        )
        if left:
            raise ServerDiedError("PostgreSQL", f"process {left[0].pid} of the last run does not end")
        lines = self._lock_file()
        if lines and lines[0].isdigit() and Path("/proc", lines[0]).exists():
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        return [process.pid for process in found]

    def _leftovers(self) -> list[ProcessIdentity]:
        home = self.data_dir.resolve()
        return [p for p in all_processes() if p.name() == "postgres" and p.cwd() == home]

    def _lock_file(self) -> list[str]:
        try:
            return (self.data_dir / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def _password_file(self, password: str) -> Path:
        # Beside the cluster, where the account can reach it; made 0600 by mkstemp before anything is in it.
        number, name = tempfile.mkstemp(prefix=".initdb-", dir=self.data_dir.parent)
        with os.fdopen(number, "w") as stream:
            stream.write(password + "\n")
            if self.account is not None:
                os.fchown(stream.fileno(), self.account.uid, self.account.gid)
        return Path(name)

    def _environment(self) -> dict[str, str]:
        return {"LC_ALL": "C", "TZ": "UTC", "PATH": f"{self.bin_dir}:/usr/bin:/bin"}

    def _run(self, argv: Sequence[str], *, deadline_s: float) -> "subprocess.CompletedProcess[str]":
        launch = Launch(tuple(argv), self._environment(), account=self.account)
        try:
            return subprocess.run(  # noqa: S603 - our own argument list
                argv, capture_output=True, text=True, check=False, timeout=deadline_s, **launch.options()
            )
        except subprocess.TimeoutExpired:
            raise InitialisationFailedError(
                f"{Path(argv[0]).name} took longer than {deadline_s:.0f} s"
            ) from None
        except OSError as error:
            raise ServerDiedError("PostgreSQL", f"{argv[0]}: {error.strerror}") from error


def start_and_wait(
    cluster: PostgresCluster, port: int, log: Path, *, deadline_s: float = 30.0
) -> "subprocess.Popen[bytes]":
    """Start the server and wait until it accepts connections; for tests and tools without an event loop.

    Raises:
        ServerDiedError: it ended or was not ready in time; the last line of its log says why.
    """
    cluster.end_leftovers()
    launch = cluster.launch(port)
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own argument list
            launch.argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, **launch.options()
        )
    deadline = time.monotonic() + deadline_s
    while not cluster.ready(process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            lines = log.read_text(errors="replace").strip().splitlines() or ["no log"]
            raise ServerDiedError("PostgreSQL", lines[-1])
        time.sleep(0.01)
    return process


def stop(process: "subprocess.Popen[bytes]", *, deadline_s: float = 10.0) -> int:
    """Stop a server that `start_and_wait` started; kill it when it does not end in time. Returns its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
