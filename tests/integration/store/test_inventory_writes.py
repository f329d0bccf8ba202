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


async def test_only_the_newest_packages_at_rest_are_remembered(database: DatabaseUrl) -> None:
    agent, other = await add_agents(database, 2)
    clock = SystemClock()
    async with opened(database.dispatcher) as make:
        for name in ("linux-1", "linux-2", "linux-3", "linux-4"):
            rows = [
                Listed(one, "apt", name, "amd64", "1", "2", None, None, False, "available", None)
                for one in (agent, other)
            ]
            async with make.begin() as session:
                await write_packages(
                    session, [PackageRow(one, "pending", None, None) for one in rows], [], clock.now()
                )
            if name == "linux-4":
                break
            async with make.begin() as session:
                await write_packages(session, [], [(agent, "apt", name, "amd64")], clock.now(), at_rest_max=2)
        async with make() as session:
            found = await session.execute(text("SELECT agent_id, name, state FROM package_state"))
            names = {(row[0], row[1]): row[2] for row in found}
    assert {name: state for (one, name), state in names.items() if one == agent} == {
        "linux-2": "updated", "linux-3": "updated", "linux-4": "pending",
    }  # fmt: skip
    assert len([one for one, _ in names if one == other]) == 4
