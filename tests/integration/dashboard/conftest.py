"""A running API for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.dashboard.running_api import Api, running_api
from tests.support.postgres import DatabaseUrl


@pytest.fixture
async def api(database: DatabaseUrl) -> AsyncIterator[Api]:
    async with running_api(database) as running:
        yield running
