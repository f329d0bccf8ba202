"""The embedded nats-server: found where the wheel puts it, run on a given configuration, known by its ports file."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from redflag.embedded.errors import BinaryMissingError, ServerDiedError
from redflag.embedded.launch import Launch

SETTING = "REDFLAG_NATS_BIN"


def find_nats_server() -> Path:
    """Return the nats-server program: the setting's, else the wheel's, else the first on the path.

    Raises:
        BinaryMissingError: there is none, or the setting names none.
    """
    named = os.environ.get(SETTING)
    if named:
        if not os.access(named, os.X_OK):
            raise BinaryMissingError("nats-server", named, SETTING)
        return Path(named)
    scripts = Path(sysconfig.get_path("scripts"))
    if os.access(scripts / "nats-server", os.X_OK):
        return scripts / "nats-server"
    found = shutil.which("nats-server")
    if found is None:
        raise BinaryMissingError("nats-server", f"{scripts} and on the path", SETTING)
    return Path(found)


@dataclass(frozen=True)
class NatsPorts:
    """Where a running server listens."""

    url: str  # nats://host:port
    monitor_url: str | None  # http://host:port


@dataclass(frozen=True)
class NatsServer:
    """One server's directory: its configuration file and its ports file; the store is where the text says.

    The configuration must hold `ports_file_dir` = `directory`.
    """

    binary: Path
    directory: Path

    @property
    def config_file(self) -> Path:
        """The file the server reads."""
        return self.directory / "nats-server.conf"

    def write_config(self, text: str) -> None:
        """Write the configuration; it holds public keys only, and is still nobody's business."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.config_file.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(text)
        partial.rename(self.config_file)

    def launch(self) -> Launch:
        """Return how to start the server in the foreground; its log goes to standard error."""
        self.forget_ports()
        return Launch((str(self.binary), "-c", str(self.config_file)), {"PATH": "/usr/bin:/bin", "TZ": "UTC"})

    def forget_ports(self) -> None:
        """Remove the ports files of earlier runs: a killed server leaves its own behind."""
        for path in self.directory.glob("*.ports"):
            path.unlink(missing_ok=True)

    def ports(self, pid: int) -> NatsPorts | None:
        """Return where the server with this process id listens, None while it does not say."""
        path = self.directory / f"{self.binary.name}_{pid}.ports"
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            return None  # not there yet, or half written
        if not found.get("nats"):
            return None
        monitoring = found.get("monitoring") or [None]
        return NatsPorts(found["nats"][0], monitoring[0])


def start_and_wait(
    server: NatsServer, log: Path, *, deadline_s: float = 20.0
) -> "tuple[subprocess.Popen[bytes], NatsPorts]":
    """Start the server and wait until it listens; for tests and tools without an event loop.

    Raises:
        ServerDiedError: it ended or did not listen in time; the last line of its log says why.
    """
    launch = server.launch()
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own argument list
            launch.argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, **launch.options()
        )
    deadline = time.monotonic() + deadline_s
    while (ports := server.ports(process.pid)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            lines = log.read_text(errors="replace").strip().splitlines() or ["no log"]
            raise ServerDiedError("nats-server", lines[-1])
        time.sleep(0.005)
    return process, ports


def stop(process: "subprocess.Popen[bytes]", *, deadline_s: float = 10.0) -> int:
    """Stop a server that `start_and_wait` started; kill it when it does not end in time. Returns its exit code."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
