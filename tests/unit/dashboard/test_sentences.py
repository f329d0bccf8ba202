"""One line per operation."""

from typing import Any

import pytest

from redflag_dashboard.sentences import sentence


def line(**given: Any) -> str:
    whole: dict[str, Any] = {
        "kind": "scan", "state": "succeeded", "params": {}, "summary": None, "code": None, "error": None,
        "duration_ms": None, **given,
    }  # fmt: skip
    return sentence(**whole)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "Scan: done"),
        (
            {
                "params": {"subsystem": "apt"},
                "summary": {"text": "12 updates available"},
                "duration_ms": 2900,
            },
            "Scan of apt: 12 updates available, 3 s",
        ),
        (
            {"kind": "install_updates", "summary": {"text": "Upgraded a 1 -> 2, 8 s"}, "duration_ms": 8000},
            "Upgraded a 1 -> 2, 8 s",
        ),
        (
            {
                "kind": "install_updates",
                "state": "failed",
                "params": {"packages": [{"name": name} for name in "abcde"]},
                "code": "plan_drift",
            },
            "Installing a, b, c and 2 more: failed (the host would do something else now than was planned)",
        ),
        (
            {"kind": "dry_run_update", "state": "expired", "params": {"packages": "nonsense"}},
            "Plan for updates: expired before the host took it",
        ),
        ({"kind": "reboot", "state": "rejected", "error": "policy"}, "Restart: refused by the host (policy)"),
        (
            {"kind": "reboot", "state": "rejected", "code": "kind_policy"},
            "Restart: refused by the host (the host's own policy does not allow this)",
        ),
        (
            {"kind": "reboot", "params": {"delay_s": 60, "reason": "new kernel"}, "duration_ms": 98_000},
            "Restarted after 1 min, back in 38 s (new kernel)",
        ),
        ({"kind": "reboot", "params": {"delay_s": 90}, "duration_ms": 3}, "Restarted after 1 min 30 s"),
        ({"kind": "reboot", "params": {"delay_s": 0}}, "Restarted at once"),
        ({"kind": "cancel", "params": {"cmd": "c1"}}, "Cancelled command c1"),
        (
            {"kind": "cancel", "params": {"cmd": "c1"}, "target_kind": "install_updates"},
            "Cancelled install updates",
        ),
        (
            {"kind": "cancel", "target_kind": "scan", "state": "failed", "code": "too_late"},
            "Cancelling of scan: failed (it could not be stopped any more; it goes on)",
        ),
        ({"kind": "enable_heartbeat", "params": {"duration_s": 5400}}, "Fast mode for 1 h 30 min"),
        ({"kind": "enable_heartbeat", "params": {"duration_s": None}}, "Fast mode until it is stopped"),
        ({"kind": "disable_heartbeat"}, "Fast mode ended"),
        ({"kind": "collect_specs", "duration_ms": 900}, "Collecting facts: done, 1 s"),
        (
            {"kind": "dry_run_update", "params": {"mode": "full", "packages": []}},
            "Plan for a full upgrade: done",
        ),
        (
            {
                "kind": "rollback_update",
                "state": "expired",
                "params": {"packages": [{"name": "a", "version": "1"}]},
            },
            "Going back to a 1: expired before the host took it",
        ),
        ({"kind": "reboot", "state": "cancelled", "code": "cancelled"}, "Restart: cancelled"),
        ({"kind": "scan", "state": "failed", "code": "some_new_code"}, "Scan: failed (some new code)"),
        ({"summary": {"text": "a\nb\tc"}}, "Scan: a b c"),
    ],
)
def test_a_line_says_what_was_done(given: dict[str, Any], expected: str) -> None:
    assert line(**given) == expected


def test_a_line_stays_a_line_of_bounded_length() -> None:
    long = line(state="failed", error="x" * 10_000)
    assert len(long) == 400
    assert long.endswith("...")
