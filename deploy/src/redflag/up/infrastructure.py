"""The embedded PostgreSQL and nats-server as programs of the supervisor."""

import asyncio
from dataclasses import replace

from redflag.embedded.launch import Launch
from redflag.embedded.nats_server import NatsServer, find_nats_server
from redflag.embedded.postgres import SUPERUSER, PostgresCluster
from redflag.keys.credentials import Credentials
from redflag.up.data_dir import DataDir
from redflag.up.leftovers import end_leftovers, mark
from redflag.up.ports import LOOPBACK
from redflag.up.readiness import ask_http
from redflag.up.supervisor import Program
from redflag_broker_config.server_config import render_server_config
from redflag_store.engine import one_connection
from redflag_store.errors import StoreError

DATABASE = "redflag"
RECOVERY_DEADLINE_S = 180.0  # after a crash PostgreSQL replays its log before it accepts anybody
POSTGRES_STOP_GRACE_S = 15.0  # a last checkpoint on a slow disk
NATS_STOP_GRACE_S = 10.0


def owner_url(password: str, port: int, database: str = DATABASE) -> str:
    """Return the owner's URL of the embedded database; the password is hexadecimal and needs no quoting."""
    return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{port}/{database}"


async def make_cluster(data: DataDir, password: str) -> PostgresCluster:
    """Find PostgreSQL and make its cluster on the first start.

    Raises:
        EmbeddedServerError: it cannot be found, reached or made.
    """
    cluster = await asyncio.to_thread(PostgresCluster.locate, data.postgres, copies=data.programs)
    await asyncio.to_thread(cluster.initialise, password)
    return cluster


def postgres(cluster: PostgresCluster, data: DataDir, password: str, port: int) -> Program:
    """Return PostgreSQL; ready when it accepts a connection with its password."""

    async def ready(pid: int) -> str | None:
        if not cluster.ready(pid):
            return "it does not accept connections yet"
        try:
            async with one_connection(owner_url(password, port, "postgres"), application_name="redflag-up"):
                return None
        except StoreError as error:
            return str(error)

    async def end_old() -> None:
        await asyncio.to_thread(cluster.end_leftovers)

    return Program(
        name="postgres",
        title="PostgreSQL",
        launch=lambda: _marked(cluster.launch(port), data, "postgres"),
        ready=ready,
        before=end_old,
        ready_deadline_s=RECOVERY_DEADLINE_S,
        stop_grace_s=POSTGRES_STOP_GRACE_S,
    )


async def make_database(password: str, port: int) -> None:
    """Make RedFlag's database in the embedded server, if it is not there.

    Raises:
        StoreError: the server cannot be reached.
    """
    async with one_connection(
        owner_url(password, port, "postgres"), application_name="redflag-up"
    ) as connection:
        # On the driver itself: a database cannot be made inside a transaction.
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is None:
            raise StoreError("the connection has no driver")
        found = await driver.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if found is None:
            await driver.execute(f"CREATE DATABASE {DATABASE}")


def nats(data: DataDir, credentials: Credentials, port: int, monitor_port: int) -> Program:
    """Write the broker's configuration and return the broker; ready when its own health check says so.

    Raises:
        EmbeddedServerError: it cannot be found.
        OSError: the configuration cannot be written.
    """
    server = NatsServer(find_nats_server(), data.nats)
    server.write_config(
        render_server_config(
            data.nats / "store",
            f"{LOOPBACK}:{port}",
            credentials.nats_users(),
            monitor_listen=f"{LOOPBACK}:{monitor_port}",
            ports_file_dir=data.nats,
        )
    )

    async def ready(pid: int) -> str | None:
        ports = server.ports(pid)
        if ports is None or ports.monitor_url is None:
            return "it does not listen yet"
        return await ask_http(f"{ports.monitor_url}/healthz")

    async def end_old() -> None:
        await asyncio.to_thread(end_leftovers, data.root, program="nats")

    return Program(
        name="nats",
        title="NATS",
        launch=lambda: _marked(server.launch(), data, "nats"),
        ready=ready,
        before=end_old,
        stop_grace_s=NATS_STOP_GRACE_S,
    )


def _marked(launch: Launch, data: DataDir, name: str) -> Launch:
    return replace(launch, env={**launch.env, **mark(data.root, name)})
