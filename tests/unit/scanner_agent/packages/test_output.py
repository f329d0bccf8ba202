from datetime import UTC, datetime

import pytest

from redflag_scanner_agent.packages.output import OutputKeeper, fitted, one_line
from redflag_wire.limits import OUTPUT_MAX_BYTES
from redflag_wire.report_bodies import InstallResult, Inventory


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_output_within_bounds_is_whole(piece: int) -> None:
    keeper = OutputKeeper(10, 10)
    data = b"0123456789abcdefghij"
    for start in range(0, len(data), piece):
        keeper.feed(data[start : start + piece])
    assert keeper.text() == data.decode()
    assert keeper.dropped == 0


@pytest.mark.parametrize("piece", [1, 3, 7, 100])
def test_output_beyond_bounds_keeps_both_ends_and_says_so(piece: int) -> None:
    keeper = OutputKeeper(4, 4)
    data = b"head" + b"x" * 1000 + b"tail"
    for start in range(0, len(data), piece):
        keeper.feed(data[start : start + piece])
    assert keeper.text() == "head\n[... 1000 bytes left out ...]\ntail"


def test_output_bytes_that_are_not_text_are_replaced() -> None:
    keeper = OutputKeeper(10, 0)
    keeper.feed(b"a\xffb")
    assert keeper.text() == "a?b"


def test_output_fits_the_wire_whatever_it_holds() -> None:
    for text in ("x" * 1_000_000, "\0" * 200_000, "\u20ac" * 100_000, "\ud800", ""):
        kept = fitted(text)
        assert len(kept.encode()) <= OUTPUT_MAX_BYTES
        InstallResult(manager="apt", items=[], exit_code=0, stdout=kept, stderr=kept, duration_ms=0)
    keeper = OutputKeeper(65_536, 65_536)
    keeper.feed(b"\xff\x00" * 100_000)
    assert len(keeper.text().encode()) <= OUTPUT_MAX_BYTES


@pytest.mark.parametrize(
    "text", ["a\nb\r\x1b[2Jc", "\u202eevil", "e\u0301", "x" * 5000, "\ud800", "\u20ac" * 3000]
)
def test_line_fits_the_wire_whatever_it_holds(text: str) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    line = one_line(text)
    Inventory(
        manager="apt", scanned_at=now, source_age_s=None, reboot_required=False, updates=[], problems=[line]
    )
    assert "\n" not in line
