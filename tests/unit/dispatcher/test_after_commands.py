"""What the end of a command means beyond itself: fast mode and the runs of subsystems."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from redflag_dispatcher.fast_mode_effects import FastMode, fast_modes
from redflag_dispatcher.scan_effects import scan_runs
from redflag_store.queries.ingest import CommandChange, CommandRow

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOST, OTHER = UUID(int=1), UUID(int=2)


def ended(
    number: int,
    kind: str,
    params: dict[str, Any],
    state: str = "succeeded",
    host: UUID = HOST,
    **change: Any,
) -> tuple[CommandRow, CommandChange]:
    command = UUID(int=1000 + number)
    row = CommandRow(command, host, kind, None, "running", "sha256:", None, json.dumps(params))
    return row, CommandChange(command, state, finished_at=AT, **change)


def test_fast_mode_ends_by_the_hosts_begin() -> None:
    began = AT - timedelta(minutes=2)
    (mode,) = fast_modes([ended(1, "enable_heartbeat", {"duration_s": 600}, agent_started_at=began)], AT)
    assert mode == FastMode(HOST, began + timedelta(seconds=600), forever=False)
    assert mode.on


@pytest.mark.parametrize("began", [None, AT + timedelta(seconds=1), AT - timedelta(hours=2)])
def test_a_wrong_clock_of_the_host_does_not_count(began: datetime | None) -> None:
    (mode,) = fast_modes([ended(1, "enable_heartbeat", {"duration_s": 600}, agent_started_at=began)], AT)
    assert mode.until == AT + timedelta(seconds=600)


@pytest.mark.parametrize("state", ["failed", "expired", "rejected", "cancelled", "unknown"])
def test_what_did_not_succeed_changes_no_fast_mode(state: str) -> None:
    assert fast_modes([ended(1, "enable_heartbeat", {"duration_s": None}, state)], AT) == []


def test_the_newest_command_of_each_host_counts_whatever_the_order() -> None:
    on = ended(1, "enable_heartbeat", {"duration_s": None})
    off = ended(2, "disable_heartbeat", {})
    other = ended(3, "enable_heartbeat", {"duration_s": None}, host=OTHER)
    expected = {(HOST, None, False), (OTHER, None, True)}
    for order in ([on, off, other], [other, off, on]):
        assert {(one.agent_id, one.until, one.forever) for one in fast_modes(order, AT)} == expected


def test_a_run_is_good_or_not_and_says_why() -> None:
    runs = scan_runs(
        [
            ended(1, "scan", {"subsystem": "apt"}, result="succeeded"),
            ended(2, "scan", {"subsystem": "apt"}, "failed", result="failed", code="lock_held"),
            ended(3, "scan", {}, result="partial"),
            ended(4, "scan", {"subsystem": "dnf"}, "rejected", code="kind_unsupported"),
        ]
    )
    assert [(run.name, run.result, run.code, run.good) for run in runs] == [
        ("apt", "succeeded", None, True),
        ("apt", "failed", "lock_held", False),
        ("all", "partial", None, False),
        ("dnf", "rejected", "kind_unsupported", False),
    ]


@pytest.mark.parametrize("state", ["expired", "cancelled", "parked"])
def test_what_never_ran_is_no_run(state: str) -> None:
    assert scan_runs([ended(1, "scan", {"subsystem": "apt"}, state)]) == []


def test_other_kinds_are_no_runs() -> None:
    assert scan_runs([ended(1, "install_updates", {"manager": "apt"})]) == []
