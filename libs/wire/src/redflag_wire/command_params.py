"""The parameters of each kind of command: one closed schema per kind, nothing that reaches a shell.

Kinds whose work is not built yet have the schema the protocol already fixes, or an empty one: a parameter nobody
understands is refused, not ignored (docs/protocol.md 3).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from redflag_wire import limits
from redflag_wire.fields import Digest, Id, Manager, Name
from redflag_wire.payload import WireModel

HEARTBEAT_MIN_S: Final = 60  # seconds of the shortest fast mode
HEARTBEAT_MAX_S: Final = 86_400  # seconds of the longest fast mode with an end


class CommandKind(StrEnum):
    """What a host can be told. When you add one: a schema in ``_SCHEMAS``, a life in ``command.LONGEST_LIFE``."""

    SCAN = "scan"
    COLLECT_SPECS = "collect_specs"
    DRY_RUN_UPDATE = "dry_run_update"
    INSTALL_UPDATES = "install_updates"
    ROLLBACK_UPDATE = "rollback_update"
    UPDATE_AGENT = "update_agent"
    REBOOT = "reboot"
    ENABLE_HEARTBEAT = "enable_heartbeat"
    DISABLE_HEARTBEAT = "disable_heartbeat"
    CANCEL = "cancel"


def _no_option(value: str) -> str:
    if value.startswith("-"):
        raise ValueError("begins like an option")
    return value


Argument = Annotated[Name, AfterValidator(_no_option)]
"""A name that may reach an argument list: it never begins with ``-``. The host checks more (its own inventory)."""


class PackageRef(WireModel):
    """One package at one version.

    Attributes:
        name: as the package manager spells it.
        arch: the architecture, ``all`` or ``noarch`` included.
        version: the exact candidate version.
    """

    name: Argument
    arch: Argument
    version: Argument


class _Packages(WireModel):
    manager: Manager
    packages: list[PackageRef] = Field(min_length=1, max_length=limits.PACKAGES_MAX)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({(one.name, one.arch) for one in self.packages}) != len(self.packages):
            raise ValueError("a package is named twice")
        return self


class ScanParams(WireModel):
    """Look for updates.

    Attributes:
        subsystem: one package manager, or ``all``.
        refresh: fetch fresh package lists first, where the host may.
    """

    subsystem: Manager = "all"
    refresh: bool = True


class DryRunUpdateParams(_Packages):
    """Make the exact plan of updating these packages of one manager, 1 to 4,000, each once."""


class InstallUpdatesParams(_Packages):
    """Carry out exactly the plan of this digest, made for exactly these packages."""

    plan_digest: Digest


class EnableHeartbeatParams(WireModel):
    """Poll fast.

    Attributes:
        duration_s: seconds until it ends by itself; None until it is stopped.
    """

    duration_s: int | None = Field(ge=HEARTBEAT_MIN_S, le=HEARTBEAT_MAX_S)


class CancelParams(WireModel):
    """Do not start the command of this id."""

    cmd: Id


class NoParams(WireModel):
    """The kind takes no parameters, or none that are fixed yet."""


CommandParams = (
    ScanParams | DryRunUpdateParams | InstallUpdatesParams | EnableHeartbeatParams | CancelParams | NoParams
)
"""Any kind's parameters."""

_SCHEMAS: Final[Mapping[CommandKind, type[CommandParams]]] = MappingProxyType(
    {
        CommandKind.SCAN: ScanParams,
        CommandKind.COLLECT_SPECS: NoParams,
        CommandKind.DRY_RUN_UPDATE: DryRunUpdateParams,
        CommandKind.INSTALL_UPDATES: InstallUpdatesParams,
        CommandKind.ROLLBACK_UPDATE: NoParams,
        CommandKind.UPDATE_AGENT: NoParams,
        CommandKind.REBOOT: NoParams,
        CommandKind.ENABLE_HEARTBEAT: EnableHeartbeatParams,
        CommandKind.DISABLE_HEARTBEAT: NoParams,
        CommandKind.CANCEL: CancelParams,
    }
)


def parse_params(kind: CommandKind, params: Mapping[str, object]) -> CommandParams:
    """Return the typed parameters of a kind.

    Raises:
        SchemaRefusedError: ``schema``: they do not fit the kind's closed schema.
    """
    return _SCHEMAS[kind].from_object(dict(params))
