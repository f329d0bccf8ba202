"""Writing inventories beside the end of a command: a package never waits for a command that has ended."""

import pytest
from sqlalchemy import text

from redflag_store.queries.inventory import Listed, PackageRow, write_packages
from redflag_wire.clock import SystemClock
from tests.integration.store.rows import add_agents, opened
from tests.support.postgres import DatabaseUrl

INSERT = text(
    "INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, availability, state, "
    "first_seen_at, changed_at) "
    "VALUES (:agent, 'apt', 'openssl', 'amd64', '1', '2', 'available', :state, now(), now())"
)


@pytest.mark.parametrize(
    ("stored", "read", "approved", "becomes"),
    [
        ("failed", "installing", "2", "failed"),
        ("pending", "checking_dependencies", "2", "approved"),
        ("approved", "checking_dependencies", None, "pending"),
        ("installing", "installing", "2", "installing"),
        ("failed", "pending", None, "pending"),
    ],
)
async def test_package_released_since_it_was_read_does_not_wait_again(
    database: DatabaseUrl, stored: str, read: str, approved: str | None, becomes: str
) -> None:
    (agent,) = await add_agents(database, 1)
    listed = Listed(agent, "apt", "openssl", "amd64", "1", "2", None, None, True, "available", None)
    async with opened(database) as make:
        async with make.begin() as session:
            await session.execute(INSERT, {"agent": agent, "state": stored})
        async with make.begin() as session:
            # The command is the one of the row as it was read, and the row still names it.
            await write_packages(session, [PackageRow(listed, read, approved, None)], [], SystemClock().now())
            found = await session.scalar(text("SELECT state FROM package_state"))
    assert found == becomes
