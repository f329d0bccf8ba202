"""The real API over a real database, and the command line that knows it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.command_line import CommandLine
from tests.integration.dashboard.running_api import Api, running_api
from tests.support.postgres import DatabaseUrl
from tests.support.warm_command import warm_command


@pytest.fixture(scope="session")
def warm() -> Iterator[Path]:
    """The command, loaded once for the run."""
    with warm_command() as address:
        yield address


@pytest.fixture
async def api(database: DatabaseUrl) -> AsyncIterator[Api]:
    async with running_api(database) as running:
        yield running


@pytest.fixture
def cli(api: Api, tmp_path: Path, warm: Path) -> CommandLine:
    line = CommandLine(tmp_path / "data", warm)
    line.point_to(api.url, api.keys["admin"])
    return line
