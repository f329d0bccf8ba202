"""The counters of updates, after any operations, are what a real count says; and what is wrong is put right."""

import random
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_store.queries.tallies import fold, recount
from redflag_store.queries.updates import UpdateFilter, count_updates, list_updates
from redflag_store.states import Availability, PackageUpdateState, UpdateSeverity
from tests.integration.store.rows import add_agents, opened
from tests.support.postgres import DatabaseUrl

STATES = [state.value for state in PackageUpdateState]
OPEN = "state NOT IN ('updated', 'rejected', 'ignored')"

INSERT = text(
    "INSERT INTO package_state (agent_id, manager, name, arch, installed, candidate, security, severity, availability, "
    "state, approved_version, first_seen_at, changed_at) VALUES (:agent, 'apt', :name, 'amd64', '1', '2', :security, "
    ":severity, :availability, :state, :approved, now(), now()) ON CONFLICT (agent_id, manager, name, arch) DO UPDATE "
    "SET state = EXCLUDED.state, security = EXCLUDED.security, severity = EXCLUDED.severity, "
    "availability = EXCLUDED.availability, approved_version = EXCLUDED.approved_version"
)


def some_row(dice: random.Random, agents: list[UUID]) -> dict[str, Any]:
    return {
        "agent": dice.choice(agents),
        "name": f"package-{dice.randrange(12)}",
        "security": dice.random() < 0.3,
        "severity": dice.choice([None, *(one.value for one in UpdateSeverity)]),
        "availability": dice.choice([one.value for one in Availability]),
        "state": dice.choice(STATES),
        "approved": dice.choice([None, "2"]),
    }


async def shuffle(make: async_sessionmaker[AsyncSession], agents: list[UUID], seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same every time
    for _ in range(40):
        async with make.begin() as session:
            match dice.randrange(5):
                case 0 | 1:
                    await session.execute(INSERT, [some_row(dice, agents) for _ in range(6)])
                case 2:
                    await session.execute(
                        text("UPDATE package_state SET state = :state WHERE name = :name"),
                        {"state": dice.choice(STATES), "name": f"package-{dice.randrange(12)}"},
                    )
                case 3:
                    await session.execute(
                        text("DELETE FROM package_state WHERE agent_id = :agent AND name = :name"),
                        {"agent": dice.choice(agents), "name": f"package-{dice.randrange(12)}"},
                    )
                case 4:
                    await fold(session, entries=dice.randrange(30))
                    if dice.random() < 0.3:
                        await session.rollback()


async def test_counters_are_what_a_count_says_after_any_operations(database: DatabaseUrl) -> None:
    agents = await add_agents(database, 5)
    async with opened(database) as make:
        for seed in range(3):
            await shuffle(make, agents, seed)
            async with make.begin() as session:
                counts = await count_updates(session, UpdateFilter())
                states = await session.execute(
                    text("SELECT state, count(*) FROM package_state GROUP BY state")
                )
                assert dict(counts.by_state) == {row[0]: row[1] for row in states}
                figures = await session.execute(
                    text(
                        "SELECT count(*) FILTER (WHERE security), "  # noqa: S608 - a constant
                        "count(*) FILTER (WHERE availability <> 'available'), "
                        f"count(DISTINCT agent_id) FROM package_state WHERE {OPEN}"
                    )
                )
                assert (counts.security, counts.held_back, counts.hosts) == tuple(figures.one())
                page = await list_updates(session, UpdateFilter(), after=None, limit=500)
                assert page.total == len(page.rows)
            async with make() as session, session.begin():
                assert await recount(session) == 0


async def test_a_wrong_counter_is_found_and_put_right(database: DatabaseUrl) -> None:
    agents = await add_agents(database, 3)
    async with opened(database) as make:
        await shuffle(make, agents, 7)
        async with make.begin() as session:
            await session.execute(
                text("DELETE FROM update_tally WHERE id IN (SELECT min(id) FROM update_tally)")
            )
            await session.execute(text("UPDATE agent_update_count SET open = open + 3"))
        async with make() as session, session.begin():
            assert await recount(session) > 0
        async with make() as session, session.begin():
            assert await recount(session) == 0
