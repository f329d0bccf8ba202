"""Rows for the store's tests, written as the owner."""

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_store.engine import open_engine, sessions
from redflag_store.queries.intents import IntentData
from redflag_store.states import AgentState
from redflag_store.tables import Agent
from redflag_wire.clock import SystemClock
from redflag_wire.ids import new_id

CLOCK = SystemClock()


@asynccontextmanager
async def opened(url: str, pool_size: int = 5) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions over an engine that is disposed of at the end."""
    engine = open_engine(url, pool_size=pool_size, application_name="store-tests")
    try:
        yield sessions(engine)
    finally:
        await engine.dispose()


def agent_row(state: str = AgentState.ACTIVE, hostname: str = "host") -> Agent:
    return Agent(
        id=new_id(CLOCK),
        hostname=hostname,
        machine_id=secrets.token_hex(32),
        state=state,
        akt=secrets.token_urlsafe(32),
        created_at=CLOCK.now(),
    )


def intent_data() -> IntentData:
    envelope = secrets.token_bytes(64)
    return IntentData(
        id=new_id(CLOCK),
        envelope=envelope,
        digest="sha256:" + hashlib.sha256(envelope).hexdigest(),
        verb="scan",
        operator="admin",
        correlation_id=new_id(CLOCK),
    )


async def add_agents(url: str, count: int = 1, state: str = AgentState.ACTIVE) -> list[UUID]:
    rows = [agent_row(state, f"host-{number}") for number in range(count)]
    ids = [row.id for row in rows]
    async with opened(url) as make, make.begin() as session:
        session.add_all(rows)
    return ids
