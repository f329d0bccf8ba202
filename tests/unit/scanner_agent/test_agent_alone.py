"""In the agent-only run (`make test-agent`) nothing of the server is installed."""

import importlib.util
import os

import pytest

SERVER_PACKAGES = (
    "redflag_store",
    "redflag_broker_config",
    "redflag_gateway",
    "redflag_dispatcher",
    "redflag_dashboard",
    "redflag",
    "sqlmodel",
    "sqlalchemy",
    "asyncpg",
    "nats",
)


@pytest.mark.skipif(
    not os.environ.get("REDFLAG_AGENT_ONLY"), reason="only in the run without the server's packages"
)
@pytest.mark.parametrize("name", SERVER_PACKAGES)
def test_nothing_of_the_server_is_installed(name: str) -> None:
    assert importlib.util.find_spec(name) is None
