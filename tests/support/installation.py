"""A whole RedFlag as its user has it: `redflag up` as a process, and the command line against it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REDFLAG = str(Path(sys.executable).with_name("redflag"))
START_DEADLINE_S = 90.0
STOP_DEADLINE_S = 30.0
CLI_DEADLINE_S = 120.0
LOOK_AGAIN_S = 0.05


class InstallationFailedError(Exception):
    """`redflag up` or a command of the command line did not do what the test needs."""


@dataclass
class Installation:
    """One data directory, started and stopped as often as a test likes.

    Args:
        directory: an empty directory others may enter; PostgreSQL may run as another account.
        environment: settings for `redflag up` besides the machine's own.
        options: options for `redflag up`.
    """

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def ready_file(self) -> Path:
        return self.directory / "ready.json"

    @property
    def log(self) -> Path:
        return self.directory / "up.log"

    @property
    def ready(self) -> dict[str, Any]:
        """The content of the ready file."""
        found: dict[str, Any] = json.loads(self.ready_file.read_text())
        return found

    @property
    def database_url(self) -> str:
        """The owner's URL of the embedded database, for what no program of RedFlag offers."""
        password = (self.data_dir / "secrets" / "postgres-owner.password").read_text().strip()
        port = json.loads((self.data_dir / "up.json").read_text())["ports"]["postgres"]
        return f"postgresql://redflag:{password}@127.0.0.1:{port}/redflag"

    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory / "config")}
        return {**os.environ, **home, **self.environment}

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start `redflag up` and do not wait."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [REDFLAG, "up", "--data", str(self.data_dir), "--ready-file", str(self.ready_file),
                 "--api-port", "0", "--gateway-port", "0", "--log-format", "json", *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(),
            )  # fmt: skip

    def start(self) -> float:
        """Start and wait until all is healthy; return the seconds it took."""
        began = time.monotonic()
        self.process = self.launch()
        while not self.ready_file.exists():
            if self.process.poll() is not None:
                raise InstallationFailedError(f"up ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() - began > START_DEADLINE_S:
                self.kill_all()
                raise InstallationFailedError(f"up was not ready in time:\n{self.tail()}")
            time.sleep(LOOK_AGAIN_S)
        return time.monotonic() - began

    def scan_only_when_asked(self) -> None:
        """Keep the scheduler from making scans by itself, for tests that count commands."""
        for name in ("system", "storage", "fake"):
            self.cli("subsystems", "defaults", name, "--no-auto")

    def stop(self) -> float:
        """SIGTERM, wait for the end; return the seconds it took."""
        if self.process is None:
            return 0.0
        began = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise InstallationFailedError(f"up did not stop in time:\n{self.tail()}") from None
        self.process = None
        if code != 0:
            raise InstallationFailedError(f"up stopped with {code}:\n{self.tail()}")
        return time.monotonic() - began

    def kill_all(self) -> None:
        """End `up` and every program of it as a power cut would, as far as one process can."""
        pids = list(self.ready["pids"].values()) if self.ready_file.exists() else []
        if self.process is not None:
            pids.insert(0, self.process.pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(STOP_DEADLINE_S)
            self.process = None
        self.ready_file.unlink(missing_ok=True)

    def tail(self) -> str:
        """The end of what `up` printed."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    def cli(self, *arguments: str, expect: int = 0) -> str:
        """Run a command of the command line; return its standard output."""
        done = subprocess.run(
            [REDFLAG, *arguments, "--data", str(self.data_dir)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CLI_DEADLINE_S,
            env=self._environment(), check=False,
        )  # fmt: skip
        if done.returncode != expect:
            raise InstallationFailedError(
                f"redflag {' '.join(arguments)} ended with {done.returncode} instead of {expect}:\n"
                f"{done.stdout}\n{done.stderr}\n--- up:\n{self.tail()}"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command of the command line with --format json; return what it printed."""
        return json.loads(self.cli(*arguments, "--format", "json"))

    def log_records(self, program: str) -> list[dict[str, Any]]:
        """The records a program has logged since the first start."""
        records = []
        for line in (self.data_dir / "logs" / f"{program}.log").read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    records.append(found)
        return records
