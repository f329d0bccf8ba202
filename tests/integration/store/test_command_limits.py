"""Retries, and what one host may be asked for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_store.queries.commands_create import (
    MAX_RETRY_DEPTH,
    AlreadyRetriedError,
    DepthError,
    RateLimitedError,
    request_commands,
)
from redflag_store.queries.refusals import NoSuchCommandError, NotEndedError
from redflag_store.queries.retries import retry_of
from redflag_store.queries.settings import change_setting
from redflag_wire.errors import SchemaRefusedError
from tests.integration.store.rows import CLOCK, add_agents, intent_data, opened
from tests.support.postgres import DatabaseUrl

Maker = async_sessionmaker[AsyncSession]


@pytest.fixture
async def make(database: DatabaseUrl) -> AsyncIterator[Maker]:
    """Sessions of the dashboard, whose rights must do."""
    async with opened(database.dashboard, pool_size=10) as maker:
        yield maker


async def ask(make: Maker, agent: UUID, **changes: Any) -> UUID:
    wanted: dict[str, Any] = {"kind": "scan", "params": {}, "requested_by": "admin", **changes}
    async with make.begin() as session:
        (command,) = await request_commands(session, CLOCK, intent=intent_data(), agents=[agent], **wanted)
    return command


async def end(database: DatabaseUrl) -> None:
    async with opened(database) as owner, owner.begin() as session:
        await session.execute(text("UPDATE command SET state = 'cancelled'"))


async def test_ten_retries_at_once_make_one(database: DatabaseUrl, make: Maker) -> None:
    (agent,) = await add_agents(database)
    first = await ask(make, agent)
    async with make() as session:
        with pytest.raises(NotEndedError):
            await retry_of(session, first)
    await end(database)
    async with make() as session:
        source = await retry_of(session, first)
    assert (source.agent_id, source.kind, source.depth) == (agent, "scan", 0)

    async def click() -> UUID:
        try:
            return await ask(make, agent, retry_of=first)
        except AlreadyRetriedError as refusal:
            return refusal.by

    assert len(set(await asyncio.gather(*(click() for _ in range(10))))) == 1
    async with make() as session:
        with pytest.raises(AlreadyRetriedError):
            await retry_of(session, first)


async def test_index_alone_refuses_a_second_retry(database: DatabaseUrl, make: Maker) -> None:
    (agent,) = await add_agents(database)
    first = await ask(make, agent)
    await ask(make, agent, retry_of=first)
    async with opened(database) as owner:
        with pytest.raises(Exception, match="uq_command_retry_of"):
            async with owner.begin() as session:
                await session.execute(
                    text(
                        "INSERT INTO command (id, agent_id, kind, retry_of, source, requested_by, requested_at) "
                        "SELECT gen_random_uuid(), agent_id, kind, id, 'system', 'x', now() FROM command "
                        "WHERE retry_of IS NULL"
                    )
                )


async def test_retries_of_retries_end(database: DatabaseUrl, make: Maker) -> None:
    (agent,) = await add_agents(database)
    last = await ask(make, agent)
    for _ in range(MAX_RETRY_DEPTH):
        await end(database)
        last = await ask(make, agent, retry_of=last)
    await end(database)
    async with make() as session:
        with pytest.raises(DepthError):
            await retry_of(session, last)
    with pytest.raises(DepthError):
        await ask(make, agent, retry_of=last)


async def test_retry_of_nothing_is_refused(database: DatabaseUrl, make: Maker) -> None:
    (agent,) = await add_agents(database)
    with pytest.raises(NoSuchCommandError):
        await ask(make, agent, retry_of=intent_data().id)


async def test_hosts_rate_holds_against_a_burst_and_spares_others(database: DatabaseUrl, make: Maker) -> None:
    agent, other = await add_agents(database, 2)
    async with opened(database) as owner, owner.begin() as session:
        await session.execute(
            text(
                "INSERT INTO setting (key, value, changed_at, changed_by) "
                "VALUES ('limits.agent_commands_burst', '4', now(), 'x')"
            )
        )

    async def click() -> float:
        try:
            await ask(make, agent)
        except RateLimitedError as refusal:
            return refusal.retry_after_s
        return 0

    waits = await asyncio.gather(*(click() for _ in range(9)))
    assert waits.count(0) == 4
    assert all(0 < wait <= 30 for wait in waits if wait)  # 120 an hour
    await ask(make, other)
    await ask(make, agent, kind="cancel", params={"cmd": str(other)}, dedupe_key=f"cancel:{other}")


async def test_what_redflag_asks_for_itself_leaves_half_of_a_hosts_burst_to_people(
    database: DatabaseUrl, make: Maker
) -> None:
    (agent,) = await add_agents(database)
    async with opened(database) as owner, owner.begin() as session:
        await change_setting(session, "limits.agent_commands_burst", 4, changed_by="x", at=CLOCK.now())

    async def look() -> None:
        async with opened(database.dispatcher) as own, own.begin() as session:
            await request_commands(
                session,
                CLOCK,
                intent=None,
                agents=[agent],
                kind="scan",
                params={},
                requested_by="x",
                source="system",
            )

    await look()
    await look()
    with pytest.raises(RateLimitedError):
        await look()
    await ask(make, agent)
    await ask(make, agent)
    with pytest.raises(RateLimitedError):
        await ask(make, agent)


async def test_refusal_gives_back_what_it_took(database: DatabaseUrl, make: Maker) -> None:
    agent, busy = await add_agents(database, 2)
    await ask(make, busy, dedupe_key="scan:all")
    async with make.begin() as session:
        with pytest.raises(Exception, match="already has command"):
            await request_commands(
                session,
                CLOCK,
                intent=intent_data(),
                agents=[agent, busy],
                kind="scan",
                params={},
                requested_by="admin",
                dedupe_key="scan:all",
            )
    async with make() as session:
        rated = await session.scalars(text("SELECT agent_id FROM agent_rate"))
        assert list(rated) == [busy]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"params": {"subsystem": "apt", "shell": "id"}}, SchemaRefusedError),
        ({"kind": "no_such_kind"}, ValueError),
        ({"kind": "reboot", "params": {"delay_s": -1}}, SchemaRefusedError),
        ({"source": "system"}, ValueError),
    ],
)
async def test_what_does_not_fit_its_kind_is_never_stored(
    database: DatabaseUrl, make: Maker, changes: dict[str, Any], error: type[Exception]
) -> None:
    (agent,) = await add_agents(database)
    with pytest.raises(error):
        await ask(make, agent, **changes)
