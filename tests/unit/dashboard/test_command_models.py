"""What a command's row is shown as."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from redflag_dashboard.models.commands import away_ms, duration_ms
from redflag_store.tables import Command

BEGAN = datetime(2026, 11, 21, 8, tzinfo=UTC)


def a_row(**columns: Any) -> Command:
    return Command(id=UUID(int=1), agent_id=UUID(int=2), kind="scan", requested_by="admin", **columns)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"duration_ms": 7, "agent_started_at": BEGAN, "agent_finished_at": BEGAN}, 7),
        ({"agent_started_at": BEGAN, "agent_finished_at": BEGAN + timedelta(seconds=2.5)}, 2500),
        ({"agent_started_at": BEGAN, "agent_finished_at": BEGAN - timedelta(seconds=1)}, 0),
        ({"agent_started_at": BEGAN}, None),
        ({}, None),
    ],
)
def test_work_took_what_the_host_says_or_lies_between_its_times(
    columns: dict[str, Any], expected: int | None
) -> None:
    assert duration_ms(a_row(**columns)) == expected


def test_a_restart_is_timed_by_the_server_where_the_host_has_no_time_yet() -> None:
    server = {"started_at": BEGAN, "finished_at": BEGAN + timedelta(seconds=98)}
    assert away_ms(a_row(**server)) == 98_000
    assert away_ms(a_row(**server, duration_ms=7)) == 7
    assert away_ms(a_row(started_at=BEGAN)) is None
