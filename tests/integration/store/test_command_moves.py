import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from redflag_store.command_states import IllegalMoveError
from redflag_store.listen import Listener
from redflag_store.queries.command_moves import (
    CHANGE_CHANNEL,
    CommandNotFoundError,
    move_command,
    remark_command,
)
from redflag_store.queries.commands_create import request_commands
from redflag_store.tables import Command, CommandEvent
from tests.integration.store.rows import CLOCK, add_agents, intent_data, opened
from tests.support.postgres import DatabaseUrl

Maker = async_sessionmaker[AsyncSession]
SIGNED: dict[str, Any] = {"envelope": b"{}", "digest": "sha256:00", "seq": 1}


@pytest.fixture
async def make(database: DatabaseUrl) -> AsyncIterator[Maker]:
    """Sessions of the dispatcher, whose rights must do."""
    async with opened(database.dispatcher) as maker:
        yield maker


@pytest.fixture
async def command(database: DatabaseUrl) -> UUID:
    agents = await add_agents(database)
    async with opened(database.dashboard) as maker, maker.begin() as session:
        (id_,) = await request_commands(
            session, CLOCK, intent=intent_data(), agents=agents, kind="scan", params={}, requested_by="admin"
        )
    return id_


async def move(make: Maker, command: UUID, to: str, cause: str = "test", **more: Any) -> None:
    async with make.begin() as session:
        await move_command(session, CLOCK, command, to, cause, **more)


async def path(make: Maker, command: UUID) -> list[str]:
    async with make() as session:
        events = await session.scalars(
            select(CommandEvent).where(col(CommandEvent.command_id) == command).order_by(col(CommandEvent.at))
        )
        return sorted(f"{event.from_state}>{event.to_state} {event.cause}" for event in events)


async def stored(make: Maker, command: UUID) -> Command:
    async with make() as session:
        return await session.get_one(Command, command)


async def test_each_move_is_an_event_and_a_time(make: Maker, command: UUID) -> None:
    await move(make, command, "signed", **SIGNED)
    await move(make, command, "queued", "puback")
    await move(make, command, "delivered", "report")
    await move(make, command, "running", "report", agent_at=datetime(2026, 1, 2, tzinfo=UTC))
    await move(make, command, "succeeded", "report", result="succeeded", exit_code=0, summary={"n": 1})
    row = await stored(make, command)
    assert (row.state, row.result, row.exit_code, row.summary) == ("succeeded", "succeeded", 0, {"n": 1})
    assert (row.envelope, row.seq) == (b"{}", 1)
    times = [row.signed_at, row.queued_at, row.delivered_at, row.started_at, row.finished_at]
    assert all(times)
    assert times == sorted(time for time in times if time)
    assert await path(make, command) == [
        "None>requested requested",
        "delivered>running report",
        "queued>delivered report",
        "requested>signed test",
        "running>succeeded report",
        "signed>queued puback",
    ]


async def test_skipping_ahead_writes_what_is_implied(make: Maker, command: UUID) -> None:
    await move(make, command, "signed", **SIGNED)
    await move(make, command, "failed", "report", skip_ahead=True, detail={"why": "x"})
    async with make() as session:
        events = list(await session.scalars(select(CommandEvent).where(col(CommandEvent.cause) == "report")))
    details = {event.to_state: event.detail for event in events}
    assert set(details) == {"queued", "delivered", "running", "failed"}
    assert details["failed"] == {"why": "x", "letter": "e"}
    assert details["queued"] == {"letter": "b", "implied": True}


async def test_illegal_move_writes_nothing(make: Maker, command: UUID) -> None:
    with pytest.raises(IllegalMoveError):
        await move(make, command, "running")
    assert (await stored(make, command)).state == "requested"
    assert await path(make, command) == ["None>requested requested"]


async def test_two_movers_cannot_both_be_right(make: Maker, command: UUID) -> None:
    outcomes = await asyncio.gather(
        *(move(make, command, "signed", **SIGNED) for _ in range(4)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, IllegalMoveError) for outcome in outcomes) == 3


async def test_expired_is_replaced_by_a_late_report_only_and_once(make: Maker, command: UUID) -> None:
    await move(make, command, "signed", **SIGNED)
    await move(make, command, "queued")
    await move(make, command, "expired", "exp")
    with pytest.raises(IllegalMoveError):
        await move(make, command, "succeeded", "report")
    await move(make, command, "succeeded", "late_report")
    with pytest.raises(IllegalMoveError):
        await move(make, command, "failed", "late_report")
    assert (await stored(make, command)).state == "succeeded"


async def test_signed_bytes_are_written_with_signing_only(make: Maker, command: UUID) -> None:
    await move(make, command, "signed", **SIGNED)
    with pytest.raises(TypeError, match="envelope"):
        await move(make, command, "queued", envelope=b"other")
    with pytest.raises(TypeError, match="state"):
        await move(make, command, "queued", requested_by="other", state="x")


async def test_unknown_command_is_refused(make: Maker) -> None:
    with pytest.raises(CommandNotFoundError):
        await move(make, UUID("00000000-0000-7000-8000-000000000000"), "signed", **SIGNED)


async def test_remark_keeps_the_state(make: Maker, command: UUID) -> None:
    async with make.begin() as session:
        await remark_command(session, CLOCK, command, "delivery", detail={"n": 2})
    assert await path(make, command) == ["None>requested requested", "requested>requested delivery"]


async def test_move_is_noticed_at_commit(database: DatabaseUrl, make: Maker, command: UUID) -> None:
    async with Listener(database.dashboard, [CHANGE_CHANNEL], poll_s=5) as listener:
        await listener.wait_connected(5)
        await listener.wait()
        await move(make, command, "signed", **SIGNED)
        wake = await listener.wait()
    (notice,) = wake.notices
    assert json.loads(notice.payload) == {"kind": "command", "id": str(command)}
