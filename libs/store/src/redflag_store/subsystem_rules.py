"""Which subsystems a host has, and what holds for each: its own values over a group's, the fleet's, the built-in ones.

Pure, no I/O; used by the scheduler, which runs by the result, and by the API, which shows it with its source.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

SYSTEM: Final = "system"
STORAGE: Final = "storage"
ALWAYS: Final = (STORAGE, SYSTEM)  # every host has them
MANAGERS_MAX: Final = 64  # names taken from one host's word

INTERVAL_MIN_S: Final = 60  # seconds
INTERVAL_MAX_S: Final = 86_400  # seconds
TIMEOUT_MIN_S: Final = 10  # seconds
TIMEOUT_MAX_S: Final = 86_400  # seconds
FAILURES_MAX: Final = 100
BREAKER_MIN_S: Final = 60  # seconds
BREAKER_MAX_S: Final = 7 * 86_400  # seconds
HALF_OPEN_MAX: Final = 10
PRIORITY_MAX: Final = 1_000

BOUNDS: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "interval_s": (INTERVAL_MIN_S, INTERVAL_MAX_S),
        "timeout_s": (TIMEOUT_MIN_S, TIMEOUT_MAX_S),
        "breaker_failures": (1, FAILURES_MAX),
        "breaker_window_s": (BREAKER_MIN_S, BREAKER_MAX_S),
        "breaker_open_s": (BREAKER_MIN_S, BREAKER_MAX_S),
        "breaker_half_open": (1, HALF_OPEN_MAX),
    }
)
"""Least and most of every number, both allowed."""

FIELDS: Final = ("enabled", "auto_run", *BOUNDS)
"""What can be set; the names of the columns too."""

Value = bool | int


@dataclass(frozen=True, slots=True)
class Values:
    """What holds for one subsystem.

    Attributes:
        enabled: off, it is not scheduled whatever `auto_run` says; an operator's own scan still runs.
        auto_run: whether the scheduler looks; if not, only an operator does.
        interval_s: seconds between two looks.
        timeout_s: seconds one look may take on the host.
        breaker_failures: failures within the window that open the host's breaker.
        breaker_window_s: seconds of that window.
        breaker_open_s: seconds it stays open before a look is tried again.
        breaker_half_open: looks that must go well to close it.
    """

    enabled: bool
    auto_run: bool
    interval_s: int
    timeout_s: int
    breaker_failures: int
    breaker_window_s: int
    breaker_open_s: int
    breaker_half_open: int

    @property
    def runs(self) -> bool:
        """Whether the scheduler makes its scans."""
        return self.enabled and self.auto_run


def _values(interval_s: int, timeout_s: int) -> Values:
    return Values(
        enabled=True,
        auto_run=True,
        interval_s=interval_s,
        timeout_s=timeout_s,
        breaker_failures=3,
        breaker_window_s=86_400,
        breaker_open_s=1_800,
        breaker_half_open=1,
    )


_MANAGER: Final = _values(6 * 3600, 1_800)
_BUILT_IN: Final = MappingProxyType({SYSTEM: _values(900, 120), STORAGE: _values(3_600, 300)})


def built_in(name: str) -> Values:
    """What holds where nobody set anything; a package manager is what is neither `system` nor `storage`."""
    return _BUILT_IN.get(name, _MANAGER)


@dataclass(frozen=True, slots=True)
class Layer:
    """Values somebody set, None where not.

    Attributes:
        source: `host`, `group:NAME` or `fleet`.
        values: by the names of `FIELDS`.
        priority: of a group's layer; the highest wins, then the first name.
    """

    source: str
    values: Mapping[str, Value | None]
    priority: int = 0


BUILT_IN_SOURCE: Final = "built-in"


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds, and where each value comes from (a name of `FIELDS` -> a source)."""

    values: Values
    sources: Mapping[str, str]


def in_force(name: str, *, host: Layer | None, groups: Iterable[Layer], fleet: Layer | None) -> InForce:
    """Return what holds for a host's subsystem: the host's own over its groups' over the fleet's over the built-in.

    Of groups the highest priority, then the first name. Each value by itself: a group may set the interval and
    leave the rest to the fleet.
    """
    ranked = sorted(groups, key=lambda one: (-one.priority, one.source))
    layers = [one for one in (host, *ranked, fleet) if one is not None]
    base = built_in(name)
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in FIELDS:
        found[field], sources[field] = getattr(base, field), BUILT_IN_SOURCE
        for layer in layers:
            value = layer.values.get(field)
            if value is not None:
                found[field], sources[field] = value, layer.source
                break
    return InForce(Values(**found), MappingProxyType(sources))


def names_of(capabilities: Sequence[Any]) -> list[str]:
    """Return the subsystems of a host, sorted: every package manager it names, `system` and `storage`.

    The list is the host's word: what is no name, and what goes beyond `MANAGERS_MAX`, is left out.
    """
    managers = {
        one["manager"]
        for one in capabilities
        if isinstance(one, Mapping) and isinstance(one.get("manager"), str) and one["manager"]
    }
    return sorted({*sorted(managers - {"all"})[:MANAGERS_MAX], *ALWAYS})
