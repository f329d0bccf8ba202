"""One PostgreSQL for a test run (one per xdist worker), one cloned database for each test.

The server runs without durability: a test that needs it starts its own cluster. The template is migrated once.
"""

import asyncio
import itertools
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import asyncpg

from redflag.embedded.errors import BinaryMissingError
from redflag.embedded.postgres import SUPERUSER, PostgresCluster, start_and_wait, stop
from tests.support.directories import open_directory
from tests.support.missing import missing
from tests.support.processes import free_port

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "200"}
ROLE_PASSWORD = "role-password-of-tests"
PROGRAM_ROLES = ("redflag_dispatcher", "redflag_dashboard")
TEMPLATE = "redflag_template"

T = TypeVar("T")


class DatabaseUrl(str):
    """The owner's URL of a test's database, with those of the programs' roles beside it."""

    __slots__ = ("dashboard", "dispatcher", "name")

    name: str
    dispatcher: str
    dashboard: str

    @property
    def owner(self) -> str:
        return str(self)


def in_thread(make: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end in a loop of its own, whether or not this thread has one."""

    async def body() -> T:
        async with asyncio.timeout(60):
            return await make()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(body())).result()


@dataclass
class PostgresServer:
    """A running server."""

    port: int
    password: str
    process: "subprocess.Popen[bytes]"
    cluster: PostgresCluster
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _template_made: bool = False

    def url(self, database: str, user: str = SUPERUSER, password: str | None = None) -> str:
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements outside any transaction, as the owner."""

        async def body() -> None:
            connection = await asyncpg.connect(self.url(database), timeout=10)  # type: ignore[no-untyped-call]  # ships no types
            try:
                for statement in statements:
                    await connection.execute(statement, timeout=60)
            finally:
                await connection.close(timeout=10)

        in_thread(body)

    def make_template(self) -> None:
        """Migrate the template once; the roles come with the migrations."""
        if self._template_made:
            return
        from redflag_store.migrate import upgrade  # noqa: PLC0415 - most tests need no database
        from redflag_store.roles import Role, set_login  # noqa: PLC0415

        url = self.url(TEMPLATE)
        self.run(f'CREATE DATABASE "{TEMPLATE}"')
        try:
            in_thread(lambda: upgrade(url))
            for role in Role:
                in_thread(lambda role=role: set_login(url, role, ROLE_PASSWORD))  # type: ignore[misc]
        except BaseException:
            self.run(f'DROP DATABASE "{TEMPLATE}" WITH (FORCE)')
            raise
        self._template_made = True

    @contextmanager
    def new_database(self, *, migrated: bool) -> Iterator[DatabaseUrl]:
        """Make a database and drop it afterwards, whoever is still connected to it."""
        name = f"test_{next(self._numbers)}"
        if migrated:
            self.make_template()
            # Roles belong to the whole server, so a test that starts an installation on it changes their passwords.
            passwords = [f"ALTER ROLE {role} PASSWORD '{ROLE_PASSWORD}'" for role in PROGRAM_ROLES]
            self.run(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY file_copy', *passwords)
        else:
            self.run(f'CREATE DATABASE "{name}"')
        url = DatabaseUrl(self.url(name))
        url.name = name
        url.dispatcher = self.url(name, "redflag_dispatcher", ROLE_PASSWORD)
        url.dashboard = self.url(name, "redflag_dashboard", ROLE_PASSWORD)
        try:
            yield url
        finally:
            self.run(f'DROP DATABASE "{name}" WITH (FORCE)')


def locate_cluster(data_dir: Path, copies: Path) -> PostgresCluster:
    """Find PostgreSQL for a test, or skip (fail under CI)."""
    try:
        return PostgresCluster.locate(data_dir, copies=copies, settings=FAST)
    except BinaryMissingError as error:
        missing(str(error))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server in a directory of its own and stop it at the end."""
    with open_directory("postgres") as base:
        cluster = locate_cluster(base / "data", base / "programs")
        password = secrets.token_hex(16)
        cluster.initialise(password, sync=False)
        port = free_port()
        process = start_and_wait(cluster, port, base / "postgres.log")
        try:
            yield PostgresServer(port, password, process, cluster)
        finally:
            stop(process)
