"""The start in order: ports, PostgreSQL, migrations, keys, broker, RedFlag's programs, the agent.

Every step can be repeated: a start that was killed anywhere is finished by the next one.
"""

import asyncio
import functools
import json
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redflag.embedded.errors import EmbeddedServerError
from redflag.keys.credentials import Credentials
from redflag.keys.durable_file import make_directory, write_durable
from redflag.keys.errors import KeysError, KeysLostError
from redflag.keys.fleet_keys import FleetKeys, have_manifest, load_or_make_fleet
from redflag.keys.registration import Registrar
from redflag.up import infrastructure, programs
from redflag.up.data_dir import DataDir, pointer_file
from redflag.up.errors import StepFailedError, UpError
from redflag.up.health import HealthWatch
from redflag.up.local_agent import LocalAgent
from redflag.up.options import External, Options, ServingOptions
from redflag.up.ports import API, DEFAULT_API_PORT, DEFAULT_GATEWAY_PORT, GATEWAY, LOOPBACK, PortBook, is_free
from redflag.up.readiness import ask_http
from redflag.up.ready_file import Summary
from redflag.up.reporter import Reporter
from redflag.up.serving import Address, Serving, keep, serving_of, settle
from redflag.up.state import StateFile
from redflag.up.supervisor import Program, Supervisor
from redflag_broker_config.connect import connect
from redflag_broker_config.errors import BrokerConfigError
from redflag_broker_config.permissions import Service
from redflag_store.errors import StoreError
from redflag_store.migrate import upgrade
from redflag_store.queries.api_keys import new_key_text
from redflag_store.roles import Role, role_url, set_login
from redflag_wire.clock import Clock

SERVERS = ("dispatcher", "gateway", "dashboard")
_INNER = ("postgres", "nats", "nats-monitor", *(f"ops-{name}" for name in SERVERS))

_log = logging.getLogger("redflag.up")  # goes to up.log

_EXPECTED = (EmbeddedServerError, KeysError, StoreError, BrokerConfigError, OSError)


@dataclass(frozen=True)
class Databases:
    """One URL for each who needs the database."""

    owner: str
    dispatcher: str
    dashboard: str


class Startup:
    """Brings everything up.

    Args:
        options: what was asked for.
        environment: ours.
        data: the data directory, held by our lock.
        state: loaded; ports and processes are kept in it.
        supervisor: starts the programs.
        reporter: is told of each step.
        clock: dates keys and rows.
        random: gives that many bytes from a cryptographic source.
    """

    def __init__(
        self,
        *,
        options: Options,
        environment: Mapping[str, str],
        data: DataDir,
        state: StateFile,
        supervisor: Supervisor,
        reporter: Reporter,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._options = options
        self._environment = environment
        self._external = External.from_environment(environment)
        self._data = data
        self._state = state
        self._supervisor = supervisor
        self._reporter = reporter
        self._clock = clock
        self._random = random
        self._credentials = Credentials(data.secrets, random)
        self._ports: dict[str, int] = {}
        self._chosen = ServingOptions()
        self._serving = Serving(Address(LOOPBACK), Address(LOOPBACK))
        self._wiring: programs.Wiring | None = None

    async def run(self) -> None:
        """Start everything; return when all are healthy.

        Raises:
            UpError: something cannot be started.
        """
        self._choose_addresses()
        self._choose_ports()
        self._keep_addresses()  # only what can be listened on: the next start must not fail for this one's mistake
        databases = await self._database()
        registrar = Registrar(databases.owner, self._clock)
        try:
            async with self._step("Keys"):
                keys = await self._keys(registrar)
            wiring = await self._wire(databases, keys)
            self._wiring = wiring
            await self._start(programs.dispatcher(wiring))
            # It made the broker's streams. These two need nothing of each other and take a second to load.
            await asyncio.gather(
                self._start(programs.gateway(wiring)), self._start(programs.dashboard(wiring))
            )
            if self._options.agent:
                await self._agent(wiring, registrar)
        finally:
            await registrar.close()
        async with self._step("Command line", shown=False):
            self._tell_cli(wiring)

    def summary(self) -> Summary:
        """Return what the ready file and the last lines of progress say; after `run`."""
        wiring = self._wiring
        if wiring is None:
            raise StepFailedError("summary", "nothing was started yet")
        return Summary(
            gateway_url=wiring.gateway_url,
            api_url=wiring.api_url,
            ops_urls={name: wiring.ops_url(name) for name in SERVERS},
            data_dir=str(self._data.root),
            pids={"up": os.getpid(), **self._supervisor.pids()},
            admin_secret_file=str(self._data.admin_key),
            nats_monitor_url=(
                f"http://{LOOPBACK}:{self._ports['nats-monitor']}"
                if self._external.nats_url is None
                else None
            ),
        )

    def health(self) -> HealthWatch:
        """Return the watch over the programs that serve; after `run`."""
        urls = self.summary().ops_urls
        return HealthWatch(
            {name: functools.partial(ask_http, f"{url}/readyz") for name, url in urls.items()}, self._reporter
        )

    def _choose_addresses(self) -> None:
        self._chosen = settle(self._options.serving, self._data.serving_file)
        self._serving = serving_of(self._chosen, self._clock.now)

    def _keep_addresses(self) -> None:
        try:
            keep(self._chosen, self._data.serving_file)
        except OSError as error:
            raise StepFailedError("Addresses", f"{self._data.serving_file}: {error.strerror}") from error

    def _choose_ports(self) -> None:
        book = PortBook(self._state.state.ports)
        options = self._options
        api, gateway = self._serving.api, self._serving.gateway
        book.outer(
            API,
            "API",
            "--api-port",
            options.api_port if api.port is None else api.port,
            DEFAULT_API_PORT,
            free=functools.partial(is_free, host=api.host),
        )
        book.outer(
            GATEWAY,
            "gateway",
            "--gateway-port",
            options.gateway_port if gateway.port is None else gateway.port,
            DEFAULT_GATEWAY_PORT,
            free=functools.partial(is_free, host=gateway.host),
        )
        for part in _INNER:
            book.inner(part)
        self._ports = book.chosen
        self._state.state.ports = dict(book.chosen)
        self._state.save()

    async def _database(self) -> Databases:
        if self._external.database_url is None:
            async with self._step("PostgreSQL"):
                password = self._credentials.database_password("owner")
                port = self._ports["postgres"]
                cluster = await infrastructure.make_cluster(self._data, password)
                await self._supervisor.start(infrastructure.postgres(cluster, self._data, password, port))
                await infrastructure.make_database(password, port)
                owner = infrastructure.owner_url(password, port)
        else:
            owner = self._external.database_url
        async with self._step("Migrations", "applied"):
            await upgrade(owner)
        async with self._step("Database roles", shown=False):
            dispatcher = self._external.dispatcher_database_url or await self._login(owner, Role.DISPATCHER)
            dashboard = self._external.dashboard_database_url or await self._login(owner, Role.DASHBOARD)
        return Databases(owner, dispatcher, dashboard)

    async def _login(self, owner: str, role: Role) -> str:
        password = self._credentials.database_password(role.removeprefix("redflag_"))
        await set_login(owner, role, password)
        return role_url(owner, role, password)

    async def _keys(self, registrar: Registrar) -> FleetKeys:
        if not have_manifest(self._data.keys) and await registrar.has_manifest():
            raise KeysLostError(self._data.keys)
        keys = load_or_make_fleet(self._data.keys, self._clock, self._random)
        await registrar.put_manifest(keys)
        _, admin_key = self._credentials.admin_key(new_key_text)
        await registrar.put_admin_key(admin_key)
        return keys

    async def _wire(self, databases: Databases, keys: FleetKeys) -> programs.Wiring:
        gateway_seed = self._external.gateway_nats_seed_file
        dispatcher_seed = self._external.dispatcher_nats_seed_file
        wiring = programs.Wiring(
            data=self._data,
            keys=keys,
            environment=self._environment,
            ports=self._ports,
            dispatcher_database_url=databases.dispatcher,
            dashboard_database_url=databases.dashboard,
            nats_url=self._external.nats_url or f"nats://{LOOPBACK}:{self._ports['nats']}",
            gateway_seed_file=gateway_seed or self._credentials.nats_seed_file(Service.GATEWAY),
            dispatcher_seed_file=dispatcher_seed or self._credentials.nats_seed_file(Service.DISPATCHER),
            gateway_hmac_file=self._credentials.gateway_hmac_file(),
            serving=self._serving,
        )
        async with self._step("NATS"):
            if self._external.nats_url is None:
                ports = self._ports
                await self._supervisor.start(
                    infrastructure.nats(self._data, self._credentials, ports["nats"], ports["nats-monitor"])
                )
            else:
                await self._try_broker(wiring)
        return wiring

    async def _try_broker(self, wiring: programs.Wiring) -> None:
        async def ignore(_error: Exception) -> None:
            return  # the last one is in the error that `connect` raises

        client = await connect(
            wiring.nats_url, wiring.dispatcher_seed_file, Service.DISPATCHER, "redflag-up", on_error=ignore
        )
        await client.close()

    async def _start(self, program: Program) -> None:
        async with self._step(program.title):
            await self._supervisor.start(program)

    async def _agent(self, wiring: programs.Wiring, registrar: Registrar) -> None:
        if os.geteuid() != 0:
            self._reporter.report(
                "agent.scan_only",
                "  Not root: this host's agent scans and reports; it cannot install updates",
            )
        local = LocalAgent(self._data, self._state, registrar)
        async with self._step("Agent"):
            token_file = await local.token_file(wiring.keys.root_fingerprint, self._random)
            await self._supervisor.start(programs.agent(wiring, token_file, local.enrolled))

    def _tell_cli(self, wiring: programs.Wiring) -> None:
        found = {"api_url": wiring.api_url, "admin_key_file": str(self._data.admin_key)}
        if self._serving.api_has_tls and self._serving.ca is not None:
            found["ca_file"] = str(self._serving.ca)
        write_durable(self._data.cli_file, json.dumps(found, indent=2).encode() + b"\n")
        pointer = pointer_file()
        try:
            make_directory(pointer.parent, mode=0o700)
            write_durable(pointer, f"{self._data.root}\n".encode())
        except OSError as error:
            # A home that cannot be written to is no reason not to run; the command line has an option instead.
            self._reporter.report(
                "cli.pointer_failed",
                f"  {pointer} cannot be written ({error.strerror}); tell the command line where RedFlag is",
                level="warning",
                path=str(pointer),
            )

    @asynccontextmanager
    async def _step(self, what: str, done: str = "ready", *, shown: bool = True) -> AsyncIterator[None]:
        began = time.monotonic()
        try:
            yield
        except UpError:
            raise
        except _EXPECTED as error:
            raise StepFailedError(what, _first_line(error)) from error
        except Exception as error:
            # For example what a database driver raises; the person gets the reason, the log the stack.
            _log.exception("%s failed", what)
            raise StepFailedError(what, f"{type(error).__name__}: {_first_line(error)}") from error
        if shown:
            self._reporter.step(f"{what} {done}", time.monotonic() - began)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
