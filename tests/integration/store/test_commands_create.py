import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from redflag_store.listen import Listener
from redflag_store.queries.commands_create import (
    MAX_PENDING_PER_AGENT,
    REQUESTED_CHANNEL,
    AgentNotActiveError,
    AlreadyPendingError,
    TooManyPendingError,
    request_commands,
)
from redflag_store.queries.intents import IntentData
from redflag_store.states import AgentState
from redflag_store.tables import Command, CommandEvent, Intent
from tests.integration.store.rows import CLOCK, add_agents, intent_data, opened
from tests.support.postgres import DatabaseUrl

Maker = async_sessionmaker[AsyncSession]


@pytest.fixture
async def make(database: DatabaseUrl) -> AsyncIterator[Maker]:
    """Sessions of the dashboard, whose rights must do."""
    async with opened(database.dashboard, pool_size=10) as maker:
        yield maker


async def ask(
    session: AsyncSession, agents: list[UUID], key: str | None = "scan:all", intent: IntentData | None = None
) -> list[UUID]:
    return await request_commands(
        session,
        CLOCK,
        intent=intent or intent_data(),
        agents=agents,
        kind="scan",
        params={"subsystem": "all"},
        dedupe_key=key,
        requested_by="admin",
    )


async def count(make: Maker, table: type[Command | CommandEvent | Intent]) -> int:
    async with make() as session:
        return int(await session.scalar(select(func.count()).select_from(table)) or 0)


async def test_commands_are_stored_with_intent_and_event(database: DatabaseUrl, make: Maker) -> None:
    agents = await add_agents(database, 3)
    intent = intent_data()
    async with make.begin() as session:
        ids = await ask(session, agents, intent=intent)
    async with make() as session:
        rows = {row.id: row for row in await session.scalars(select(Command))}
        events = {row.command_id: row for row in await session.scalars(select(CommandEvent))}
        stored = (await session.scalars(select(Intent))).one()
    assert [rows[id_].agent_id for id_ in ids] == agents
    for id_ in ids:
        row, event = rows[id_], events[id_]
        assert (row.state, row.source, row.kind, row.params) == (
            "requested",
            "manual",
            "scan",
            {"subsystem": "all"},
        )
        assert (row.intent_id, row.op) == (intent.id, intent.correlation_id)
        assert (event.from_state, event.to_state, event.cause) == (None, "requested", "requested")
        assert event.at.tzinfo is not None
    assert (stored.envelope, stored.digest) == (intent.envelope, intent.digest)


async def test_ten_creations_at_once_make_one_command(database: DatabaseUrl, make: Maker) -> None:
    agents = await add_agents(database)

    async def click() -> UUID:
        async with make.begin() as session:
            try:
                return (await ask(session, agents))[0]
            except AlreadyPendingError as refusal:
                return refusal.command_id

    answers = await asyncio.gather(*(click() for _ in range(10)))
    assert len(set(answers)) == 1
    assert await count(make, Command) == 1
    assert await count(make, CommandEvent) == 1


async def test_index_alone_refuses_a_second_pending_one(database: DatabaseUrl) -> None:
    # The guarantee does not rest on the lock: the owner goes past request_commands.
    agents = await add_agents(database)
    async with opened(database) as owner:
        async with owner.begin() as session:
            await ask(session, agents)
        with pytest.raises(Exception, match="uq_command_dedupe"):
            async with owner.begin() as session:
                await session.execute(
                    text(
                        "INSERT INTO command (id, agent_id, kind, dedupe_key, source, requested_by, requested_at) "
                        "SELECT gen_random_uuid(), agent_id, kind, dedupe_key, 'system', 'x', now() FROM command"
                    )
                )


async def test_refusal_leaves_the_callers_transaction_usable(database: DatabaseUrl, make: Maker) -> None:
    free, busy = await add_agents(database, 2)
    async with make.begin() as session:
        (existing,) = await ask(session, [busy])
    async with make.begin() as session:
        before = await ask(session, [free], key="another")
        with pytest.raises(AlreadyPendingError) as caught:
            await ask(session, [free, busy])
        assert caught.value.command_id == existing
    async with make() as session:
        assert set(await session.scalars(select(col(Command.id)))) == {existing, *before}
    assert await count(make, Intent) == 2


async def test_key_is_free_again_after_the_end(database: DatabaseUrl, make: Maker) -> None:
    agents = await add_agents(database)
    async with make.begin() as session:
        first = await ask(session, agents)
    async with opened(database) as owner, owner.begin() as session:
        await session.execute(text("UPDATE command SET state = 'cancelled'"))
    async with make.begin() as session:
        assert await ask(session, agents) != first


async def test_eleventh_pending_command_is_refused(database: DatabaseUrl, make: Maker) -> None:
    agents = await add_agents(database)
    for number in range(MAX_PENDING_PER_AGENT):
        async with make.begin() as session:
            await ask(session, agents, key=f"key-{number}")
    async with make.begin() as session:
        with pytest.raises(TooManyPendingError):
            await ask(session, agents, key=None)
        # A repeated one is still told which command is there.
        with pytest.raises(AlreadyPendingError):
            await ask(session, agents, key="key-0")
    assert await count(make, Command) == MAX_PENDING_PER_AGENT


async def test_limit_holds_against_a_burst(database: DatabaseUrl, make: Maker) -> None:
    agents = await add_agents(database)

    async def click() -> bool:
        async with make.begin() as session:
            try:
                await ask(session, agents, key=None)
            except TooManyPendingError:
                return False
            return True

    made = await asyncio.gather(*(click() for _ in range(25)))
    assert sum(made) == MAX_PENDING_PER_AGENT == await count(make, Command)


@pytest.mark.parametrize("state", [AgentState.PENDING, AgentState.REVOKED, AgentState.QUARANTINED])
async def test_agent_that_is_not_active_gets_none(
    database: DatabaseUrl, make: Maker, state: AgentState
) -> None:
    active = await add_agents(database)
    other = await add_agents(database, state=state)
    async with make.begin() as session:
        with pytest.raises(AgentNotActiveError) as caught:
            await ask(session, active + other)
        assert (caught.value.agent_id, caught.value.state) == (other[0], state)
    assert await count(make, Command) == 0


async def test_unknown_agent_gets_none(make: Maker) -> None:
    unknown = UUID("00000000-0000-7000-8000-000000000000")
    async with make.begin() as session:
        with pytest.raises(AgentNotActiveError) as caught:
            await ask(session, [unknown])
    assert caught.value.state is None


async def test_dispatcher_may_create_a_system_command(database: DatabaseUrl) -> None:
    agents = await add_agents(database)
    async with opened(database.dispatcher) as make, make.begin() as session:
        ids = await request_commands(
            session,
            CLOCK,
            intent=None,
            agents=agents,
            kind="scan",
            params={},
            source="system",
            requested_by="schedule",
        )
        command = await session.get_one(Command, ids[0])
        assert (command.source, command.intent_id) == ("system", None)


async def test_batch_sends_one_notice_at_commit(database: DatabaseUrl, make: Maker) -> None:
    agents = await add_agents(database, 5)
    intent = intent_data()
    async with Listener(database.dispatcher, [REQUESTED_CHANNEL], poll_s=5) as listener:
        await listener.wait_connected(5)
        await listener.wait()
        async with make.begin() as session:
            await ask(session, agents, intent=intent)
        wake = await listener.wait()
    assert [(notice.channel, notice.payload) for notice in wake.notices] == [
        (REQUESTED_CHANNEL, str(intent.correlation_id))
    ]
