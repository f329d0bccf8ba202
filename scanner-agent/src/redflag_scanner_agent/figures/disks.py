"""The disks of a host and, where smartctl is there and may ask them, how they say they are."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redflag_scanner_agent.figures.reading import clean, read_text, whole
from redflag_wire import limits
from redflag_wire.system_bodies import Disk

PROGRAM = ("/usr/sbin/smartctl", "/usr/bin/smartctl", "/sbin/smartctl")
# A disk that sleeps is not woken up to be asked.
ARGUMENTS = ("--json", "--nocheck=standby", "--info", "--health", "--attributes")
SECTOR_BYTES = 512  # the kernel's unit in /sys/block, whatever the disk's own
TEMPERATURE_RANGE = range(-100, 300)

_NAME = re.compile(
    r"(?:[hsv]d[a-z]{1,3}|xvd[a-z]{1,3}|nvme\d{1,3}n\d{1,3}|mmcblk\d{1,3}|dasd[a-z]{1,4})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a disk says of itself.

    Attributes:
        model: empty when it does not say.
        health: its own verdict.
        temperature_celsius, power_on_hours: None when it does not say.
    """

    model: str = ""
    health: Literal["passed", "failed", "unknown"] = "unknown"
    temperature_celsius: int | None = None
    power_on_hours: int | None = None


def names(root: Path) -> list[str]:
    """Return the names of the disks that this host has and can reach; in a container usually none."""
    try:
        found = sorted(place.name for place in (root / "sys/block").iterdir())
    except OSError:
        return []
    disks = [name for name in found if _NAME.fullmatch(name) and (root / "dev" / name).exists()]
    return disks[: limits.VOLUMES_MAX]


def disk(root: Path, name: str, said: Said) -> Disk:
    """Return one disk."""
    place = root / "sys/block" / name
    sectors = whole((read_text(place / "size") or "").strip())
    size = None if sectors is None else sectors * SECTOR_BYTES
    return Disk(
        device=f"/dev/{name}",
        model=said.model or clean((read_text(place / "device/model") or "").strip()),
        size_bytes=None if size is None or size >= limits.INTEGER_LIMIT else size,
        health=said.health,
        temperature_celsius=said.temperature_celsius,
        power_on_hours=said.power_on_hours,
    )


def parse_smart(text: str) -> Said:
    """Return what `smartctl --json` printed; everything unknown for what cannot be read.

    Its exit code is a set of bits and says nothing that the document does not.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Said()
    if not isinstance(found, dict):
        return Said()
    passed = _at(found, "smart_status", "passed")
    temperature, hours = _at(found, "temperature", "current"), _at(found, "power_on_time", "hours")
    model = _at(found, "model_name")
    return Said(
        model=clean(model.strip()) if isinstance(model, str) else "",
        health="unknown" if not isinstance(passed, bool) else "passed" if passed else "failed",
        temperature_celsius=temperature
        if _integer(temperature) and temperature in TEMPERATURE_RANGE
        else None,
        power_on_hours=hours if _integer(hours) and 0 <= hours < limits.INTEGER_LIMIT else None,
    )


def _integer(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, int) and not isinstance(value, bool)


def _at(found: Any, *path: str) -> Any:  # noqa: ANN401 - any JSON value
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
