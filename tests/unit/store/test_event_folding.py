"""When an event is the same thing again."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from redflag_store.event_folding import DATA_MAX_BYTES, bounded, component_of, fold_of
from redflag_store.states import Severity

AT = datetime(2026, 5, 1, 12, 10, tzinfo=UTC)
ONE: dict[str, Any] = {
    "at": AT,
    "severity": Severity.WARNING,
    "component": "ingest",
    "code": "report_refused",
    "message": "1 reports were refused",
    "agent_id": None,
    "data": {"count": 1},
}


@pytest.mark.parametrize(
    "other",
    [
        {"severity": Severity.ERROR},
        {"component": "auth"},
        {"code": "other"},
        {"message": "2 reports were refused"},
        {"agent_id": uuid4()},
        {"at": AT + timedelta(hours=1)},
    ],
)
def test_what_differs_is_another_event(other: dict[str, Any]) -> None:
    assert fold_of(**ONE) != fold_of(**{**ONE, **other})


def test_the_same_again_is_the_same() -> None:
    again = {**ONE, "at": AT + timedelta(minutes=49), "data": {"count": 7}}
    assert fold_of(**ONE) == fold_of(**again) is not None


def test_a_critical_event_is_the_same_with_equal_data_only() -> None:
    critical = {**ONE, "severity": Severity.CRITICAL}
    assert fold_of(**critical) == fold_of(**critical)
    assert fold_of(**critical) != fold_of(**{**critical, "data": {"count": 2}})


def test_information_is_folded_when_a_host_says_it() -> None:
    info = {**ONE, "severity": Severity.INFO}
    assert fold_of(**info) is None
    assert fold_of(**{**info, "component": "agentless"}) is None
    assert fold_of(**{**info, "component": "agent"}) is not None
    assert fold_of(**{**info, "component": "agent.poller"}) is not None


def test_what_happens_all_the_time_is_folded() -> None:
    renewed = {**ONE, "severity": Severity.INFO, "component": "auth", "code": "access_renewed"}
    assert fold_of(**renewed) == fold_of(**{**renewed, "at": AT + timedelta(minutes=49)}) is not None


def test_the_agent_itself_is_named_once() -> None:
    assert component_of("agent") == "agent"
    assert component_of("poller") == "agent.poller"


def test_data_is_bounded() -> None:
    assert bounded({"a": 1}) == '{"a": 1}'
    assert bounded({"a": "x" * DATA_MAX_BYTES}) == f'{{"left_out_bytes": {DATA_MAX_BYTES + 9}}}'
