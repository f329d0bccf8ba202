from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from redflag.cli.doctor_rules import (
    Finding,
    Verdict,
    is_well,
    judge_agents,
    judge_certificate,
    judge_clock,
    judge_disk,
    judge_key_file,
    read_gauge,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GIB = 2**30


@pytest.mark.parametrize(
    ("seconds", "verdict", "side"),
    [(0, "ok", ""), (4.9, "ok", ""), (-6, "attention", "ahead"), (30, "attention", "behind"), (61, "failed", "behind"),
     (-3600, "failed", "ahead")],
)  # fmt: skip
def test_clocks_are_compared(seconds: float, verdict: str, side: str) -> None:
    found = judge_clock(NOW + timedelta(seconds=seconds), NOW)
    assert found.verdict == verdict
    assert side in found.detail
    assert bool(found.advice) == (verdict != "ok")


@pytest.mark.parametrize(
    ("free", "total", "verdict"),
    [
        (50 * GIB, 100 * GIB, "ok"),
        (9 * GIB, 100 * GIB, "attention"),
        (GIB // 8, GIB // 4, "failed"),
        (0, 0, "failed"),
    ],
)
def test_free_space_is_judged(free: int, total: int, verdict: str) -> None:
    assert judge_disk("disk", free, total).verdict == verdict


def host(name: str, minutes: float | None, state: str = "active") -> dict[str, Any]:
    seen = None if minutes is None else (NOW - timedelta(minutes=minutes)).isoformat()
    return {"hostname": name, "state": state, "last_seen_at": seen}


@pytest.mark.parametrize(
    ("hosts", "verdict", "named"),
    [
        ([], "attention", "no active host"),
        ([host("a", 5, "revoked")], "attention", "no active host"),
        ([host("a", 14), host("b", 99, "quarantined")], "ok", "1 active"),
        ([host("a", 1), host("b", 16)], "attention", "b (16 min ago)"),
        ([host("a", None)], "failed", "a (never)"),
        ([host(f"h{n}", 60) for n in range(9)], "failed", "and 4 more"),
    ],
)
def test_agents_not_seen_lately_are_named(hosts: list[dict[str, Any]], verdict: str, named: str) -> None:
    found = judge_agents(hosts, NOW)
    assert found.verdict == verdict
    assert named in found.detail


def test_a_key_others_may_read_needs_attention() -> None:
    assert judge_key_file(0o100600).verdict is Verdict.OK
    for mode in (0o100640, 0o100604, 0o100610):
        assert judge_key_file(mode).verdict is Verdict.ATTENTION


def test_attention_is_still_well_and_a_failure_is_not() -> None:
    assert is_well([Finding("a", Verdict.OK, ""), Finding("b", Verdict.ATTENTION, "")])
    assert not is_well([Finding("a", Verdict.OK, ""), Finding("b", Verdict.FAILED, "")])


@pytest.mark.parametrize(
    ("days", "refused", "verdict"),
    [(60, False, "ok"), (13, False, "attention"), (60, True, "attention"), (-1, False, "failed"), (-1, True, "failed")],
)  # fmt: skip
def test_the_end_of_a_certificate_is_looked_at(days: int, refused: bool, verdict: str) -> None:
    ends = NOW + timedelta(days=days)
    found = judge_certificate("gateway certificate", ends, NOW, new_one_refused=refused)
    assert found.verdict == verdict
    assert f"{ends:%Y-%m-%d}" in found.detail
    assert bool(found.advice) == (verdict != "ok")
    assert ("cannot be served" in found.detail) == refused


def test_a_gauge_is_read_by_its_whole_name() -> None:
    metrics = "# HELP a text\na_more 3.0\na 1.5e+09\nb x\n"
    assert read_gauge(metrics, "a") == 1.5e9
    assert read_gauge(metrics, "b") is None
    assert read_gauge(metrics, "c") is None
