"""What a host's figures mean."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from redflag_dispatcher.figure_rules import (
    Fullest,
    believable,
    fullest,
    of_failed_scan,
    of_problems,
    of_storage,
)
from redflag_store.states import Severity
from redflag_wire.system_bodies import Disk, Storage, Volume

NOW = datetime(2026, 5, 1, 12, 30, 15, tzinfo=UTC)
MINUTE = NOW.replace(second=0)


def volume(mount: str, used: int, available: int, *, fstype: str = "ext4", read_only: bool = False) -> Volume:
    return Volume(
        mount=mount, device="", fstype=fstype, total_bytes=used + available, used_bytes=used,
        available_bytes=available, inodes_total=None, inodes_used=None, read_only=read_only,
    )  # fmt: skip


def storage(*disks: Disk, problems: tuple[str, ...] = ()) -> Storage:
    return Storage(collected_at=NOW, volumes=[], disks=list(disks), problems=list(problems))


def disk(device: str, health: Literal["passed", "failed", "unknown"]) -> Disk:
    return Disk(
        device=device, model="", size_bytes=None, health=health, temperature_celsius=None, power_on_hours=None
    )


@pytest.mark.parametrize(
    ("ago", "kept"),
    [
        (timedelta(hours=3), MINUTE - timedelta(hours=3)),
        (timedelta(hours=24), MINUTE - timedelta(hours=24)),
        (timedelta(hours=25), MINUTE),
        (-timedelta(minutes=4), MINUTE),  # believed, but nothing is kept under a time to come
        (-timedelta(days=4000), MINUTE),
    ],
)
def test_a_clock_that_cannot_be_right_is_not_believed(ago: timedelta, kept: datetime) -> None:
    assert believable(NOW - ago, NOW) == kept


def test_the_fullest_volume_is_one_that_can_fill_up() -> None:
    volumes = [
        volume("/", 61, 39),
        volume("/srv", 904, 99),
        volume("/snap/core", 100, 0, fstype="squashfs"),
        volume("/cdrom", 100, 0, read_only=True),
        volume("/run", 99, 1, fstype="tmpfs"),
        volume("/odd", 0, 0),
    ]
    assert fullest(volumes) == Fullest("/srv", 91)  # rounded up, as df does
    assert fullest(volumes[2:]) is None


def test_problems_are_one_event_that_names_the_first() -> None:
    assert of_problems("apt", []) == []
    (told,) = of_problems("apt", [f"mirror {n} is away" for n in range(30)])
    assert (told.code, told.message) == ("scan_problems", "scan of apt: mirror 0 is away (and 29 more)")
    assert (told.data["count"], len(told.data["problems"])) == (30, 20)


def test_a_failing_disk_is_told() -> None:
    assert of_storage(storage(disk("/dev/sda", "passed"), disk("/dev/sdb", "unknown"))) == []
    problem, failing = of_storage(storage(disk("/dev/sda", "failed"), problems=("no smartctl",)))
    assert problem.code == "scan_problems"
    assert (failing.severity, failing.data) == (Severity.ERROR, {"disks": ["/dev/sda"]})


@pytest.mark.parametrize(
    ("state", "told"),
    [("failed", True), ("unknown", True), ("succeeded", False), ("cancelled", False), ("rejected", False)],
)
def test_a_scan_that_came_to_nothing_is_told(state: str, *, told: bool) -> None:
    found = of_failed_scan("apt", state, "lock_timeout", "x" * 1000)
    assert (found is not None) is told
    if found is not None:
        assert found.message == f"a scan of apt ended {state}: lock_timeout"
        assert len(found.data["error"]) == 500
