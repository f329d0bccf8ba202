"""A private nats-server with RedFlag's own configuration, for one test or one module of tests."""

import asyncio
import json
import secrets
import subprocess
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path

from nats.aio.client import Client

from redflag_broker_config.connect import connect, make_seed, public_key
from redflag_broker_config.server_config import render_server_config

START_DEADLINE_S = 20
STOP_DEADLINE_S = 20
SERVICES = ("gateway", "dispatcher", "system")


@dataclass
class LocalServer:
    """Starts, stops and kills one server; its ports stay the same over restarts."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    monitor_url: str = ""
    errors: asyncio.Queue[Exception] = field(default_factory=asyncio.Queue)

    def start(self) -> None:
        seeds = {service: self._seed(service) for service in SERVICES}
        config = self.directory / "nats.conf"
        config.write_text(
            render_server_config(
                self.directory / "jetstream",
                self.url.removeprefix("nats://") or "127.0.0.1:-1",
                {service: public_key(seed) for service, seed in seeds.items()},
                monitor_listen=self.monitor_url.removeprefix("http://") or "127.0.0.1:-1",
                ports_file_dir=self.directory,
            )
        )
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        with (self.directory / "nats.log").open("ab") as log:
            self.process = subprocess.Popen([binary, "-c", config], stdout=log, stderr=log)
        ports = self._read_ports(self.directory / f"nats-server_{self.process.pid}.ports")
        self.url = ports["nats"][0]
        self.monitor_url = ports["monitoring"][0]

    def _seed(self, service: str) -> str:
        path = self.seed_path(service)
        if not path.exists():
            path.write_text(make_seed(secrets.token_bytes))
        return path.read_text()

    def _read_ports(self, path: Path) -> dict[str, list[str]]:
        assert self.process is not None
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                ports: dict[str, list[str]] = json.loads(path.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                time.sleep(0.01)  # the server tells nobody else when the file is whole
            else:
                return ports
        log = (self.directory / "nats.log").read_text()
        raise AssertionError(f"nats-server did not start: {log[-2000:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(STOP_DEADLINE_S)
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_DEADLINE_S)
            self.process = None

    def seed_path(self, service: str) -> Path:
        return self.directory / f"{service}.nk"

    async def connect(self, service: str, deadline_s: float = 10) -> Client:
        """Connect as a service; errors of the connection are kept in ``errors``."""

        async def remember(error: Exception) -> None:
            self.errors.put_nowait(error)

        return await connect(
            self.url, self.seed_path(service), service, "test", on_error=remember, deadline_s=deadline_s
        )
