"""A real nats-server for a test: fresh store, generated credentials, and handles to stop, kill and start it again."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redflag.embedded.errors import BinaryMissingError
from redflag.embedded.nats_server import NatsServer, find_nats_server, start_and_wait, stop
from redflag_broker_config.connect import make_seed, public_key
from redflag_broker_config.permissions import Service
from redflag_broker_config.server_config import render_server_config
from tests.support.directories import open_directory
from tests.support.missing import missing
from tests.support.processes import free_port


@dataclass
class Broker:
    """A nats-server as RedFlag configures it. Ports stay the same over a restart."""

    server: NatsServer
    store_dir: Path
    url: str
    monitor_url: str
    seed_files: dict[Service, Path]
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def gateway_seed_file(self) -> Path:
        return self.seed_files[Service.GATEWAY]

    @property
    def dispatcher_seed_file(self) -> Path:
        return self.seed_files[Service.DISPATCHER]

    def start(self) -> None:
        if self.process is None:
            self.process, _ = start_and_wait(self.server, self.log)

    def stop(self) -> None:
        """Stop it in order (SIGTERM)."""
        if self.process is not None:
            stop(self.process)
            self.process = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wipe_store(self) -> None:
        """Remove all JetStream data; the server must not run."""
        shutil.rmtree(self.store_dir)


@contextmanager
def running_broker(*, sync_always: bool = False) -> Iterator[Broker]:
    """Start a server in a directory of its own and stop it at the end."""
    try:
        binary = find_nats_server()
    except BinaryMissingError as error:
        missing(str(error))
    with open_directory("nats") as base:
        seed_files: dict[Service, Path] = {}
        users: dict[Service | str, str] = {}
        for service in Service:
            seed = make_seed(secrets.token_bytes)
            seed_files[service] = base / f"{service}.nk"
            with os.fdopen(os.open(seed_files[service], os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
                stream.write(seed + "\n")
            users[service] = public_key(seed)
        server = NatsServer(binary, base / "server")
        listen, monitor = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        server.write_config(
            render_server_config(
                base / "store",
                listen,
                users,
                monitor_listen=monitor,
                ports_file_dir=server.directory,
                sync_always=sync_always,
            )
        )
        broker = Broker(
            server, base / "store", f"nats://{listen}", f"http://{monitor}", seed_files, base / "nats.log"
        )
        broker.start()
        try:
            yield broker
        finally:
            broker.stop()
