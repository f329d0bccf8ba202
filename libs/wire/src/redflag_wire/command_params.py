"""The parameters of each kind of command: one closed schema per kind, nothing that reaches a shell.

A parameter nobody understands is refused, not ignored (docs/protocol.md 3).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from redflag_wire import limits
from redflag_wire.fields import Digest, Id, Line, Manager, Name
from redflag_wire.payload import WireModel

HEARTBEAT_MIN_S: Final = 60  # seconds of the shortest fast mode
HEARTBEAT_MAX_S: Final = 86_400  # seconds of the longest fast mode with an end
REBOOT_DELAY_MAX_S: Final = 86_400  # seconds a host may wait between taking up a reboot and doing it
REASON_MAX_CHARS: Final = 200  # characters of the reason people on the host are shown


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


class PlanMode(StrEnum):
    """What a plan is asked to be.

    `packages`: exactly the named updates and what they need. `security`: every security update the host sees now.
    `full`: what a full upgrade would do. `rollback`: the named packages back at the named, older versions.
    """

    PACKAGES = "packages"
    SECURITY = "security"
    FULL = "full"
    ROLLBACK = "rollback"


NAMELESS_MODES: Final = frozenset({PlanMode.SECURITY, PlanMode.FULL})
"""The modes in which the host itself finds the packages; they name none."""


class _Packages(WireModel):
    manager: Manager
    packages: list[PackageRef] = Field(max_length=limits.PACKAGES_MAX)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({(one.name, one.arch) for one in self.packages}) != len(self.packages):
            raise ValueError("a package is named twice")
        return self


class _Planned(_Packages):
    mode: Annotated[PlanMode, Field(strict=False)] = PlanMode.PACKAGES

    @model_validator(mode="after")
    def _named_or_found(self) -> Self:
        if (self.mode in NAMELESS_MODES) == bool(self.packages):
            raise ValueError("packages are named in the modes packages and rollback, and in no other")
        return self


class ScanParams(WireModel):
    """Look for updates, or at the host itself.

    Attributes:
        subsystem: one package manager, ``system``, ``storage``, or ``all``.
        refresh: fetch fresh package lists first, where the host may.
        full: send the whole inventory, whatever the server already confirmed.
    """

    subsystem: Manager = "all"
    refresh: bool = True
    full: bool = False


class DryRunUpdateParams(_Planned):
    """Make an exact plan with one manager.

    Attributes:
        manager: which one.
        packages: up to 4,000, each once; none in the modes that find them.
        mode: what is asked for.
    """


class InstallUpdatesParams(_Planned):
    """Carry out exactly the plan of this digest, made for exactly this request.

    Attributes:
        plan_digest: of the plan as the host first wrote it. Its mode is not ``rollback``.
    """

    plan_digest: Digest

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.mode is PlanMode.ROLLBACK:
            raise ValueError("a rollback is a kind of its own")
        return self


class RollbackUpdateParams(_Packages):
    """Bring the named packages back to the named, older versions, by exactly the plan of this digest.

    Attributes:
        packages: 1 to 4,000; the versions are the ones to return to.
        plan_digest: of a plan made in the mode ``rollback``.
    """

    plan_digest: Digest

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.packages:
            raise ValueError("no package is named")
        return self


class RebootParams(WireModel):
    """Restart the machine.

    Attributes:
        delay_s: seconds from taking it up until it is done, so that people on the host can finish; it can be
            cancelled until then.
        reason: one line for them.
    """

    delay_s: int = Field(default=60, ge=0, le=REBOOT_DELAY_MAX_S)
    reason: Annotated[Line, Field(max_length=REASON_MAX_CHARS)] = ""


class UpdateAgentParams(WireModel):
    """Replace the agent by this version of itself; the file is the command's artifact."""

    version: Argument


class EnableHeartbeatParams(WireModel):
    """Poll fast.

    Attributes:
        duration_s: seconds until it ends by itself; None until it is stopped.
    """

    duration_s: int | None = Field(ge=HEARTBEAT_MIN_S, le=HEARTBEAT_MAX_S)


class CancelParams(WireModel):
    """Do not start, or stop where that is still possible, the command of this id."""

    cmd: Id


class NoParams(WireModel):
    """The kind takes no parameters."""


CommandParams = (
    ScanParams
    | DryRunUpdateParams
    | InstallUpdatesParams
    | RollbackUpdateParams
    | RebootParams
    | UpdateAgentParams
    | EnableHeartbeatParams
    | CancelParams
    | NoParams
)
"""Any kind's parameters."""

_SCHEMAS: Final[Mapping[CommandKind, type[CommandParams]]] = MappingProxyType(
    {
        CommandKind.SCAN: ScanParams,
        CommandKind.COLLECT_SPECS: NoParams,
        CommandKind.DRY_RUN_UPDATE: DryRunUpdateParams,
        CommandKind.INSTALL_UPDATES: InstallUpdatesParams,
        CommandKind.ROLLBACK_UPDATE: RollbackUpdateParams,
        CommandKind.UPDATE_AGENT: UpdateAgentParams,
        CommandKind.REBOOT: RebootParams,
        CommandKind.ENABLE_HEARTBEAT: EnableHeartbeatParams,
        CommandKind.DISABLE_HEARTBEAT: NoParams,
        CommandKind.CANCEL: CancelParams,
    }
)

LOOKING_KINDS: Final = frozenset({CommandKind.SCAN, CommandKind.COLLECT_SPECS, CommandKind.DRY_RUN_UPDATE})
"""Kinds that change nothing on a host: the only ones a host takes without an operator's intent (docs/protocol.md 3)."""


def parse_params(kind: CommandKind, params: Mapping[str, object]) -> CommandParams:
    """Return the typed parameters of a kind.

    Raises:
        SchemaRefusedError: ``schema``: they do not fit the kind's closed schema.
    """
    return _SCHEMAS[kind].from_object(dict(params))
