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
            "Installing a, b, c and 2 more: failed (plan_drift)",
        ),
        (
            {"kind": "dry_run_update", "state": "expired", "params": {"packages": "nonsense"}},
            "Plan for updates: expired before the host took it",
        ),
        ({"kind": "reboot", "state": "rejected", "error": "policy"}, "Reboot: refused by the host (policy)"),
        ({"summary": {"text": "a\nb\tc"}}, "Scan: a b c"),
    ],
)
def test_a_line_says_what_was_done(given: dict[str, Any], expected: str) -> None:
    assert line(**given) == expected


def test_a_line_stays_a_line_of_bounded_length() -> None:
    long = line(state="failed", error="x" * 10_000)
    assert len(long) == 400
    assert long.endswith("...")
