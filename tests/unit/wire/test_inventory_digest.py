"""Two sides that hold the same updates make the same digest; any difference in them makes another."""

from typing import Any

import pytest

from redflag_wire import inventory_digest
from redflag_wire.report_bodies import UpdateItem

ROW: dict[str, Any] = {
    "manager": "apt",
    "name": "openssl",
    "arch": "amd64",
    "installed": "3.0.17",
    "candidate": "3.0.18",
    "origin": "Debian",
    "suite": "bookworm-security",
    "security": True,
    "state": "available",
}


def item(**changes: Any) -> UpdateItem:
    return UpdateItem.model_validate({**ROW, **changes})


def test_order_does_not_matter() -> None:
    rows = [item(), item(name="zlib"), item(arch="i386")]
    assert inventory_digest.of(rows) == inventory_digest.of(reversed(rows))


def test_known_answers() -> None:
    assert inventory_digest.of([]) == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"candidate": "3.0.19"}, {"installed": None}, {"state": "held"}, {"severity": "high"}, {"size": 1},
        {"reason": "held"}, {"trusted": True}, {"site": "deb.debian.org"}, {"phased_percent": 10},
    ],
)  # fmt: skip
def test_every_field_counts(change: dict[str, Any]) -> None:
    assert inventory_digest.of([item(**change)]) != inventory_digest.of([item()])
