"""The settings operators may change while RedFlag runs: each with its unit, bounds and default. Pure, no I/O.

They live in table `setting`; what is not there has its default, so a new setting works in an old database. What a
program needs before it reaches the database is no setting of this list but an environment variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from redflag_store.errors import StoreError
from redflag_wire import agent_version

Value = int | str | None


class SettingRefusedError(StoreError):
    """A value does not fit its setting, or there is no such setting; the message says what would fit."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        key: dotted name; never changes.
        default: used when nothing is stored.
        unit: of a number, such as `s` or `per hour`; `version` for the text of a version, which may be None.
        least, most: bounds of a number, both allowed.
        about: what it does, one sentence.
    """

    key: str
    default: Value
    unit: str
    about: str
    least: int = 0
    most: int = 0

    @property
    def is_version(self) -> bool:
        """Whether it is the text of a version, and no number."""
        return self.unit == VERSION

    def check(self, value: object) -> Value:
        """Return the value when it fits.

        Raises:
            SettingRefusedError: it does not.
        """
        if self.is_version:
            if value is None or (isinstance(value, str) and agent_version.parse(value).is_known):
                return value
            raise SettingRefusedError(f"{self.key} is a version such as 1.2.3, or null for none")
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise SettingRefusedError(
                f"{self.key} is a whole number from {self.least} to {self.most} ({self.unit})"
            )
        return value


VERSION: Final = "version"
_DAY: Final = 86_400
_RUNTIME_ABOUT: Final = "Longest time a host lets one command of this kind run."

_ALL: Final = (
    Setting(
        "limits.agent_commands_per_hour",
        120,
        "per hour",
        "Commands one host is given on average.",
        1,
        100_000,
    ),
    Setting(
        "limits.agent_commands_burst", 60, "commands", "Commands one host may be given at once.", 1, 10_000
    ),
    Setting(
        "limits.fleet_commands_per_minute",
        60_000,
        "per minute",
        "Commands signed in the whole fleet.",
        1,
        10_000_000,
    ),
    Setting(
        "limits.fleet_commands_burst",
        20_000,
        "commands",
        "Commands signed at once in the whole fleet.",
        1,
        1_000_000,
    ),
    *(
        Setting(
            f"limits.{kind}_per_minute",
            default,
            "per minute",
            f"Commands {kind} signed in the whole fleet.",
            1,
            10_000_000,
        )
        for kind, default in (
            ("scan", 60_000),
            ("collect_specs", 60_000),
            ("dry_run_update", 10_000),
            ("install_updates", 1_000),
            ("rollback_update", 1_000),
            ("update_agent", 100),
            ("reboot", 60),
            ("enable_heartbeat", 10_000),
            ("disable_heartbeat", 60_000),
        )
    ),
    *(
        Setting(f"timeouts.{kind}_s", default, "s", _RUNTIME_ABOUT, 10, _DAY)
        for kind, default in (
            ("scan", 1_800),
            ("collect_specs", 300),
            ("dry_run_update", 900),
            ("install_updates", 7_200),
            ("rollback_update", 7_200),
            ("update_agent", 1_800),
            ("reboot", 1_800),
            ("enable_heartbeat", 60),
            ("disable_heartbeat", 60),
            ("cancel", 60),
        )
    ),
    Setting(
        "timeouts.silent_host_s",
        14_400,
        "s",
        "How long after its longest run a command waits for a host that is silent.",
        600,
        30 * _DAY,
    ),
    Setting(
        "delivery.most",
        5,
        "deliveries",
        "Deliveries without a word of the host after which a command is parked.",
        1,
        100,
    ),
    Setting(
        "scheduler.jitter_percent",
        10,
        "percent",
        "Share of an interval by which scheduled scans are spread.",
        0,
        50,
    ),
    Setting(
        "agents.minimum_version",
        None,
        VERSION,
        "Hosts below it are asked for nothing but an update of the agent.",
    ),
    Setting(
        "agents.newest_version",
        None,
        VERSION,
        "Hosts below it are shown with an update of the agent available; unset: the server's own version.",
    ),
    Setting("retention.commands_days", 400, "days", "How long ended commands are kept.", 1, 3_650),
    Setting(
        "retention.reports_days", 60, "days", "How long the signed reports themselves are kept.", 7, 3_650
    ),
    Setting("retention.events_days", 90, "days", "How long system events are kept.", 1, 3_650),
    Setting("retention.metrics_days", 30, "days", "How long the figures of hosts are kept.", 1, 3_650),
    Setting(
        "retention.update_events_months", 13, "months", "How long the events of updates are kept.", 1, 120
    ),
    Setting(
        "retention.idempotency_hours",
        48,
        "hours",
        "How long answers to requests with an Idempotency-Key are remembered.",
        1,
        720,
    ),
)

CATALOG: Final[Mapping[str, Setting]] = MappingProxyType({one.key: one for one in _ALL})
"""Every setting by its key."""


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The settings in force: what is stored over the defaults."""

    stored: Mapping[str, Value]

    def number(self, key: str) -> int:
        """A number in force; a stored value that does not fit any more gives way to the default."""
        value = self.value(key)
        if not isinstance(value, int):
            raise TypeError(f"{key} is no number")
        return value

    def version(self, key: str) -> str | None:
        """A version in force, None for none."""
        value = self.value(key)
        if isinstance(value, int):
            raise TypeError(f"{key} is a number")
        return value

    def value(self, key: str) -> Value:
        """The value in force, of either type."""
        setting = CATALOG[key]
        if key not in self.stored:
            return setting.default
        try:
            return setting.check(self.stored[key])
        except SettingRefusedError:
            return setting.default
