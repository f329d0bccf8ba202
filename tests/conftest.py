"""Fixtures every test may ask for. What starts a server imports it only then, so the agent-only run needs none."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.memory import use_memory

if TYPE_CHECKING:
    from tests.support.nats_server import Broker
    from tests.support.postgres import DatabaseUrl, PostgresServer


def pytest_configure() -> None:
    """Before the first temporary directory is made."""
    use_memory()


@pytest.fixture(autouse=True)
def _no_settings_of_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches a program under test."""
    for name in list(os.environ):
        if name.startswith("REDFLAG_") and name not in (
            "REDFLAG_AGENT_ONLY",
            "REDFLAG_PG_BIN",
            "REDFLAG_NATS_BIN",
        ):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator["PostgresServer"]:
    """One PostgreSQL for the run."""
    from tests.support.postgres import running_postgres  # noqa: PLC0415

    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres_server: "PostgresServer") -> Iterator["DatabaseUrl"]:
    """A migrated database: the owner's URL, with `.dispatcher` and `.dashboard` for the roles' URLs."""
    with postgres_server.new_database(migrated=True) as url:
        yield url


@pytest.fixture
def empty_database(postgres_server: "PostgresServer") -> Iterator["DatabaseUrl"]:
    """A database nothing was migrated in: the owner's URL."""
    with postgres_server.new_database(migrated=False) as url:
        yield url


@pytest.fixture
def broker() -> Iterator["Broker"]:
    """A nats-server with RedFlag's configuration and an empty store."""
    from tests.support.nats_server import running_broker  # noqa: PLC0415

    with running_broker() as running:
        yield running
