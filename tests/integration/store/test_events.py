"""System events: written, folded, listed."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from redflag_store.queries.events import EventFilter, list_events
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.states import Severity
from redflag_store.tables import SystemEvent
from redflag_wire.ids import new_id
from tests.integration.store.rows import CLOCK, opened
from tests.support.postgres import DatabaseUrl

AT = CLOCK.now().replace(minute=30, second=0, microsecond=0)


def event(severity: Severity = Severity.WARNING, **values: object) -> EventRow:
    row = EventRow(new_id(CLOCK), AT, severity, "auth", "enrolment_refused", "an enrolment was refused")
    return replace(row, id=new_id(CLOCK), **values)  # type: ignore[arg-type]


async def test_the_same_again_counts_on_its_first_row(database: DatabaseUrl) -> None:
    async with opened(database.dispatcher) as make:

        async def knock(minute: int) -> None:
            async with make.begin() as session:
                await write_events(
                    session,
                    [
                        event(at=AT + timedelta(minutes=minute), data={"peer": "192.0.2.1"}),
                        event(at=AT + timedelta(minutes=minute), data={"peer": "192.0.2.2"}, count=3),
                        event(Severity.INFO),
                    ],
                )

        await knock(0)
        await asyncio.gather(*(knock(5) for _ in range(3)))
        async with make() as session:
            page = await list_events(session, EventFilter(at_least=Severity.WARNING), after=None, limit=10)
            row: SystemEvent = page.rows[0][0]
            assert page.total == 1
            assert (row.count, row.at, row.last_at) == (16, AT, AT + timedelta(minutes=5))
            assert row.data == {"peer": "192.0.2.2"}
            assert (await list_events(session, EventFilter(), after=None, limit=1)).total == 5


async def test_events_are_filtered_by_component_code_and_time(database: DatabaseUrl) -> None:
    async with opened(database.dispatcher) as make:
        async with make.begin() as session:
            rows = [
                event(component="agent", code="started", message="1"),
                event(component="agent.poller", code="b", message="2", at=AT + timedelta(minutes=1)),
                event(component="agentless", code="b", message="3", at=AT + timedelta(minutes=2)),
                event(component="agent_x", code="b", message="4", at=AT + timedelta(minutes=3)),
            ]
            await write_events(session, rows)
        async with make() as session:
            for wanted, expected in (
                (EventFilter(component="agent"), ["2", "1"]),
                (EventFilter(code="b", until=AT + timedelta(minutes=2)), ["2"]),
                (EventFilter(since=AT + timedelta(minutes=2)), ["4", "3"]),
            ):
                page = await list_events(session, wanted, after=None, limit=10)
                assert [row.message for row, _ in page.rows] == expected
