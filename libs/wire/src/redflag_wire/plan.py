"""A plan: the exact set of changes a package manager would make, in one byte form (docs/protocol.md 6).

The same plan always gives the same bytes: items and request are sorted, fields have a fixed order, the JSON is compact.
So a host that plans again just before it acts can compare digests, and an approval of a digest is an approval of
exactly these changes.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from redflag_wire import limits, strict_json
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.envelope import digest
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.fields import Line, Manager, Name, SchemaVersion
from redflag_wire.payload import WireModel, load_object

_PLAN_JSON_MAX_KEYS: Final = 16 + 6 * limits.PLAN_ITEMS_MAX + 3 * limits.PACKAGES_MAX


class PlanItem(WireModel):
    """One change.

    Attributes:
        name: the package.
        arch: its architecture.
        old: the version before, None when it is not there.
        new: the version after, None when it is removed.
        origin: where the new version comes from; may be empty.
        action: what happens to it; fits ``old`` and ``new``.
    """

    name: Name
    arch: Name
    old: Name | None
    new: Name | None
    origin: Line
    action: Literal["install", "upgrade", "downgrade", "remove"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.new is None) != (self.action == "remove") or (self.old is None and self.new is None):
            raise ValueError("a removal, and nothing else, has no new version")
        if self.action in {"upgrade", "downgrade"} and self.old is None:
            raise ValueError("an upgrade or downgrade has an old version")
        return self

    @property
    def sort_key(self) -> tuple[str, str, str, str, str]:
        """Name and architecture first; the rest orders what a manager may hold in several versions."""
        return (self.name, self.arch, self.action, self.old or "", self.new or "")


class Plan(WireModel):
    """What would be done for a request.

    Attributes:
        v: 1.
        manager: which package manager.
        mode: what was asked for; written only when it is not ``packages``.
        request: the packages asked for; sorted by name and architecture.
        items: every change, dependencies included; sorted, each once.
    """

    v: SchemaVersion = 1
    manager: Manager
    mode: Annotated[PlanMode, Field(strict=False)] = PlanMode.PACKAGES
    request: list[PackageRef] = Field(max_length=limits.PACKAGES_MAX)
    items: list[PlanItem] = Field(max_length=limits.PLAN_ITEMS_MAX)

    @field_validator("request", mode="after")
    @classmethod
    def _sort_request(cls, request: list[PackageRef]) -> list[PackageRef]:
        return sorted(request, key=lambda one: (one.name, one.arch, one.version))

    @field_validator("items", mode="after")
    @classmethod
    def _sort_items(cls, items: list[PlanItem]) -> list[PlanItem]:
        if len({item.sort_key for item in items}) != len(items):
            raise ValueError("a change stands twice")
        return sorted(items, key=lambda item: item.sort_key)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the plan of its bytes.

        Raises:
            SchemaRefusedError: ``json_...``, ``schema``, or ``not_canonical`` when the plan's own bytes are others:
                then its digest would not be the digest of what it says.
        """
        plan = cls.from_object(load_object(data, max_keys=_PLAN_JSON_MAX_KEYS))
        if plan.to_bytes() != data:
            raise SchemaRefusedError("not_canonical", "a plan's bytes are the ones it is written with")
        return plan

    def to_bytes(self) -> bytes:
        """Return compact JSON with the fields in the order of the class, the usual mode left out."""
        usual = {"mode"} if self.mode is PlanMode.PACKAGES else None
        return strict_json.dumps(self.model_dump(mode="json", exclude=usual))

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the plan's bytes: the ``plan_digest``."""
        return digest(self.to_bytes())


class PlanDrift(WireModel):
    """How a plan made just before acting differs from the approved one, by name and architecture.

    Attributes:
        missing: approved, no longer planned.
        extra: planned, never approved.
        changed: in both with other versions, origin or action; as planned now.
    """

    missing: list[PlanItem] = Field(default_factory=list, max_length=limits.PLAN_ITEMS_MAX)
    extra: list[PlanItem] = Field(default_factory=list, max_length=limits.PLAN_ITEMS_MAX)
    changed: list[PlanItem] = Field(default_factory=list, max_length=limits.PLAN_ITEMS_MAX)
