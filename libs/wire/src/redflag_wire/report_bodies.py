"""What the body of a report says, decoded: inventory, plan, install result, facts, system, storage, event.

A body is one JSON object whose ``type`` names its model. Bodies come from hosts that may be broken or hostile:
everything is bounded, and the rows of an inventory are checked one by one, so that one odd package does not hide four
thousand good ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from redflag_wire import base64_strict, limits
from redflag_wire.command_params import PackageRef
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.fields import (
    Base64,
    Code,
    Count,
    Digest,
    Integer,
    JsonObject,
    Line,
    Manager,
    Name,
    Output,
    Sha256Hex,
)
from redflag_wire.payload import WireModel, load_object, schema_refused
from redflag_wire.plan import Plan, PlanDrift, PlanItem
from redflag_wire.system_bodies import Storage, System
from redflag_wire.timestamps import Timestamp

__all__ = [
    "BadRow",
    "Body",
    "Facts",
    "HostEvent",
    "InstallResult",
    "InstalledItem",
    "Inventory",
    "InventoryChanges",
    "ManagerCapability",
    "PackageKey",
    "PackageRef",
    "Plan",
    "PlanDrift",
    "PlanItem",
    "PlanResult",
    "Severity",
    "Storage",
    "System",
    "UpdateItem",
    "parse_body",
    "split_changes",
    "split_inventory",
]

BAD_ROWS_MAX: Final = 100  # bad rows named one by one; the rest of them are only counted by their absence


class ManagerCapability(WireModel):
    """What a host can do with one package manager.

    Attributes:
        manager: its name.
        can_install: whether updates can be installed, not only found.
        reason: why not, or None.
    """

    manager: Manager
    can_install: bool
    reason: Line | None = None


class Facts(WireModel):
    """What a host is."""

    type: Literal["facts"] = "facts"
    hostname: Name
    machine_id: Sha256Hex | None = None
    os_id: Name
    os_name: Name
    os_version: Name
    arch: Name
    kernel: Name
    agent_version: Name
    boot_id: Name
    capabilities: list[ManagerCapability] = Field(default_factory=list, max_length=limits.CAPABILITIES_MAX)


Severity = Literal["critical", "high", "medium", "low"]
"""How bad an update's absence is, by its distribution's own data; None where the distribution does not say."""


class UpdateItem(WireModel):
    """One update that is there for a host.

    Attributes:
        manager: who offers it.
        name: the package.
        arch: its architecture.
        installed: the version in place, None when it would be new.
        candidate: the version offered.
        origin: who publishes it; may be empty where the manager does not say.
        site: the host it would be fetched from; may be empty. With ``trusted`` this says where it comes from; labels
            are only the publisher's words about itself.
        trusted: whether the manager verified the source's signature; None when it cannot say.
        suite: the release or channel it comes from; may be empty.
        security: whether it comes from the distribution's security archive.
        severity: by the distribution's own data, None where there is none.
        state: ``available``, or why the manager would not take it now.
        reason: that state in words, with the file or rule behind it; None for ``available``.
        phased_percent: share of all machines that get it now, None when it is not phased.
        size: bytes to download, None when not known.
    """

    manager: Manager
    name: Name
    arch: Name
    installed: Name | None
    candidate: Name
    origin: Line
    site: Line = ""
    trusted: bool | None = None
    suite: Line
    security: bool
    severity: Severity | None = None
    state: Literal["available", "held", "kept_back", "phased", "pinned"]
    reason: Line | None = None
    phased_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    size: Count | None = None


class Inventory(WireModel):
    """All updates one package manager sees.

    Attributes:
        manager: which one.
        scanned_at: when, by the host.
        source_age_s: seconds since the package lists were fetched, None when not known.
        reboot_required: whether the host waits for a restart.
        digest: of ``updates`` as ``inventory_digest.of`` makes it; None from an agent that keeps none.
        updates: at most 20,000.
        problems: what hindered the scan, for people.
    """

    type: Literal["inventory"] = "inventory"
    manager: Manager
    scanned_at: Timestamp
    source_age_s: Count | None
    reboot_required: bool
    digest: Digest | None = None
    updates: list[UpdateItem] = Field(max_length=limits.UPDATES_MAX)
    problems: list[Line] = Field(default_factory=list, max_length=limits.PROBLEMS_MAX)


class PackageKey(WireModel):
    """A package on a host, whatever its version."""

    name: Name
    arch: Name


class InventoryChanges(WireModel):
    """What changed since an inventory the server confirmed; nothing at all when the digests are equal.

    Attributes:
        manager: which one.
        scanned_at: when, by the host.
        source_age_s: seconds since the package lists were fetched, None when not known.
        reboot_required: whether the host waits for a restart.
        base: digest of the confirmed inventory this builds on. A server that has another one takes nothing of it and
            asks for the whole.
        digest: of the inventory after the changes.
        changed: rows that are new or different.
        gone: packages that have no update any more.
        problems: what hindered the scan, for people.
    """

    type: Literal["inventory_changes"] = "inventory_changes"
    manager: Manager
    scanned_at: Timestamp
    source_age_s: Count | None
    reboot_required: bool
    base: Digest
    digest: Digest
    changed: list[UpdateItem] = Field(max_length=limits.UPDATES_MAX)
    gone: list[PackageKey] = Field(max_length=limits.UPDATES_MAX)
    problems: list[Line] = Field(default_factory=list, max_length=limits.PROBLEMS_MAX)


class PlanResult(WireModel):
    """The answer of a dry run.

    Attributes:
        plan_b64: the plan's bytes exactly as the host wrote them; their digest is the ``plan_digest``.
        download_bytes: how much would be fetched, None when not known.
        problems: what the package manager warned of.
    """

    type: Literal["plan"] = "plan"
    plan_b64: Base64
    download_bytes: Count | None = None
    problems: list[Line] = Field(default_factory=list, max_length=limits.PROBLEMS_MAX)

    @property
    def plan_bytes(self) -> bytes:
        """The bytes ``plan_digest`` is over."""
        return base64_strict.decode(self.plan_b64)

    @property
    def plan(self) -> Plan:
        """The plan itself.

        Raises:
            SchemaRefusedError: the bytes are no plan.
        """
        return Plan.from_bytes(self.plan_bytes)


class InstalledItem(WireModel):
    """What became of one package.

    Attributes:
        name: the package.
        arch: its architecture.
        old: the version before, None when it was not there.
        new: the version after, None when it is gone.
        ok: whether that is what the plan said.
    """

    name: Name
    arch: Name
    old: Name | None
    new: Name | None
    ok: bool


class InstallResult(WireModel):
    """The answer of an installation.

    Attributes:
        manager: which package manager.
        items: what became of each package of the plan, by looking, not by the exit code.
        exit_code: of the package manager, None when it was never started.
        stdout: first and last 64 KiB.
        stderr: the same.
        duration_ms: of the whole work.
        drift: the differences when the plan was no longer the approved one; then nothing was done.
        conffiles_kept: configuration files whose new version lies beside the old.
        reboot_required: whether the host waits for a restart afterwards.
        services_to_restart: services that still run code of before, where the host can tell.
        repaired: what was put in order first because the host's policy allows it, None when nothing had to be.
    """

    type: Literal["install"] = "install"
    manager: Manager
    items: list[InstalledItem] = Field(max_length=limits.PLAN_ITEMS_MAX)
    exit_code: Integer | None
    stdout: Output
    stderr: Output
    duration_ms: Count
    drift: PlanDrift | None = None
    conffiles_kept: list[Line] = Field(default_factory=list, max_length=limits.PROBLEMS_MAX)
    reboot_required: bool = False
    services_to_restart: list[Line] = Field(default_factory=list, max_length=limits.PROBLEMS_MAX)
    repaired: Line | None = None


class HostEvent(WireModel):
    """Something an operator should know.

    Attributes:
        code: stable.
        severity: how bad.
        component: which part of the agent.
        message: for people.
        data: fields that go with the code.
    """

    type: Literal["event"] = "event"
    code: Code
    severity: Literal["info", "warning", "error", "critical"]
    component: Name
    message: Line
    data: JsonObject = Field(default_factory=dict)


Body = Facts | Inventory | InventoryChanges | PlanResult | InstallResult | System | Storage | HostEvent
"""Any decoded body."""

_BODIES: Final[Mapping[str, type[Body]]] = MappingProxyType(
    {
        "facts": Facts,
        "inventory": Inventory,
        "inventory_changes": InventoryChanges,
        "plan": PlanResult,
        "install": InstallResult,
        "system": System,
        "storage": Storage,
        "event": HostEvent,
    }
)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of an inventory that was left out.

    Attributes:
        index: its place in ``updates``, from 0.
        reason: which field, and what is wrong with it.
    """

    index: int
    reason: str


def parse_body(data: bytes) -> Body:
    """Return the decoded body of any type; an inventory must be good as a whole.

    Raises:
        SchemaRefusedError: ``json_...``, ``schema``, or ``body_type`` for an unknown one.
    """
    found = _load(data)
    model = _BODIES.get(str(found.get("type")))
    if model is None:
        raise SchemaRefusedError("body_type", "no such type of body")
    return model.from_object(found)


def split_inventory(data: bytes) -> tuple[Inventory, list[BadRow]]:
    """Return an inventory without its bad rows, and what was wrong with them (the first 100).

    Raises:
        SchemaRefusedError: ``json_...``; ``schema`` or ``body_type`` when something other than a row is bad.
    """
    found = _load(data)
    if found.get("type") != "inventory":
        raise SchemaRefusedError("body_type", "not an inventory")
    good, bad = _split_rows(found, "updates")
    return Inventory.from_object({**found, "updates": []}).model_copy(update={"updates": good}), bad


def split_changes(data: bytes) -> tuple[InventoryChanges, list[BadRow]]:
    """Return the changes of an inventory without their bad rows, and what was wrong with them (the first 100).

    Raises:
        SchemaRefusedError: ``json_...``; ``schema`` or ``body_type`` when something other than a row is bad.
    """
    found = _load(data)
    if found.get("type") != "inventory_changes":
        raise SchemaRefusedError("body_type", "not the changes of an inventory")
    good, bad = _split_rows(found, "changed")
    return InventoryChanges.from_object({**found, "changed": []}).model_copy(update={"changed": good}), bad


def _split_rows(found: dict[str, Any], field: str) -> tuple[list[UpdateItem], list[BadRow]]:
    rows = found.get(field)
    if not isinstance(rows, list) or len(rows) > limits.UPDATES_MAX:
        raise SchemaRefusedError("schema", f"{field} is a list of at most {limits.UPDATES_MAX}")
    good: list[UpdateItem] = []
    bad: list[BadRow] = []
    for index, row in enumerate(rows):
        try:
            good.append(UpdateItem.model_validate(row))
        except ValidationError as error:
            if len(bad) < BAD_ROWS_MAX:
                bad.append(BadRow(index, schema_refused(error).detail))
    return good, bad


def _load(data: bytes) -> dict[str, Any]:
    # Text fields of an inventory refuse U+0000 themselves: here it would cost all rows for one odd version. No other
    # body may hold it at all, free-form data included: the database has no place for it.
    value = _load_object(data, allow_nul=True)
    if str(value.get("type")) not in {"inventory", "inventory_changes"} and b"\\u0000" in data:
        return _load_object(data, allow_nul=False)
    return value


def _load_object(data: bytes, *, allow_nul: bool) -> dict[str, Any]:
    return load_object(
        data,
        max_keys=limits.INVENTORY_JSON_MAX_KEYS,
        max_string_bytes=limits.BODY_MAX_DECODED,
        allow_nul=allow_nul,
    )
