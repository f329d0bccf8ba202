"""Beds for the apt scenarios; a bed takes about 0.1 s."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from redflag_scanner_agent.packages.apt import AptManager
from redflag_wire.clock import ManualClock
from tests.support.apt_bed import AptBed, build_bed, require_tools

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def bed(tmp_path: Path) -> AptBed:
    require_tools()
    return build_bed(tmp_path / "bed")


@pytest.fixture
def make_manager(tmp_path: Path) -> Callable[..., AptManager]:
    """A manager for a bed, with anything else overridden by name."""

    def make(bed: AptBed, **options: object) -> AptManager:
        settings: dict[str, object] = {
            "apt_config": bed.config,
            "work_dir": tmp_path / "work",
            "can_install": True,
            "clock": ManualClock(START),
            **options,
        }
        return AptManager(**settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
def manager(bed: AptBed, make_manager: Callable[..., AptManager]) -> AptManager:
    return make_manager(bed)


@pytest.fixture
def one_update(bed: AptBed) -> AptBed:
    """`demo` 1.0 installed, 2.0 offered."""
    bed.publish("demo", "1.0")
    bed.refresh()
    bed.install("demo")
    bed.publish("demo", "2.0")
    bed.refresh()
    return bed
