"""Subsystems of hosts: what holds for them, where it comes from, and what came of the last run."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Manager
from redflag_dashboard.models.groups import GroupText
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.subsystems import DefaultRow, HostSubsystem
from redflag_store.subsystem_rules import (
    BREAKER_MAX_S,
    BREAKER_MIN_S,
    FAILURES_MAX,
    FIELDS,
    HALF_OPEN_MAX,
    INTERVAL_MAX_S,
    INTERVAL_MIN_S,
    PRIORITY_MAX,
    TIMEOUT_MAX_S,
    TIMEOUT_MIN_S,
)


def _not_all(name: str) -> str:
    if name == "all":
        raise ValueError("names every subsystem; name one")
    return name


SubsystemName = Annotated[
    Manager,
    AfterValidator(_not_all),
    Field(description="A package manager, `system` or `storage`"),
]


class SubsystemPath(Strict):
    """A host's subsystem in the path."""

    host: HostText
    subsystem: SubsystemName


class DefaultPath(Strict):
    """A subsystem in the path."""

    subsystem: SubsystemName


class DefaultsQuery(Strict):
    """What defaults to list."""

    subsystem: SubsystemName | None = None
    group: GroupText | None = None
    fleet: bool | None = Field(default=None, description="true: only those of the whole fleet")
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class ValuesChange(Strict):
    """What to set. Left out: as it is; null: no longer set here, so that the next default holds."""

    enabled: bool | None = Field(
        default=None,
        description="Off: not scheduled, whatever auto_run says; an operator's own scan still runs",
    )
    auto_run: bool | None = Field(default=None, description="Whether the scheduler looks by itself")
    interval_s: int | None = Field(default=None, ge=INTERVAL_MIN_S, le=INTERVAL_MAX_S)
    timeout_s: int | None = Field(default=None, ge=TIMEOUT_MIN_S, le=TIMEOUT_MAX_S)
    breaker_failures: int | None = Field(
        default=None, ge=1, le=FAILURES_MAX, description="Failures within the window that open the breaker"
    )
    breaker_window_s: int | None = Field(default=None, ge=BREAKER_MIN_S, le=BREAKER_MAX_S)
    breaker_open_s: int | None = Field(default=None, ge=BREAKER_MIN_S, le=BREAKER_MAX_S)
    breaker_half_open: int | None = Field(
        default=None, ge=1, le=HALF_OPEN_MAX, description="Looks that must go well to close it"
    )

    def values(self) -> dict[str, bool | int | None]:
        """What was said, null included."""
        return {name: getattr(self, name) for name in FIELDS if name in self.model_fields_set}


class DefaultChange(ValuesChange):
    """Values for all hosts, or for a group's."""

    group: GroupText | None = Field(default=None, description="Left out: the whole fleet")
    priority: int | None = Field(
        default=None, ge=0, le=PRIORITY_MAX, description="Of several groups the highest wins; 100 unless said"
    )


class Values(BaseModel):
    """What holds, or what is set; null is not set here."""

    enabled: bool | None
    auto_run: bool | None
    interval_s: int | None
    timeout_s: int | None
    breaker_failures: int | None
    breaker_window_s: int | None
    breaker_open_s: int | None
    breaker_half_open: int | None

    @classmethod
    def of(cls, row: Any) -> Self:  # noqa: ANN401 - a row or the values in force: both have these names
        """The values of a row."""
        return cls(**{name: getattr(row, name) for name in FIELDS})


class Subsystem(BaseModel):
    """One thing of a host that is scanned."""

    name: str
    values: Values = Field(description="In force")
    sources: dict[str, str] = Field(
        description="Where each value comes from: `host`, `group:NAME`, `fleet` or `built-in`"
    )
    next_run_at: datetime | None = Field(description="null: does not run by itself")
    waits_for: str | None = Field(
        description="Why it is due and not made: asleep, too_many, too_old, rate_limited"
    )
    last_command_id: UUID | None
    last_run_at: datetime | None
    last_result: str | None
    last_code: str | None
    failures: int = Field(description="In a row")
    changed_at: datetime | None = Field(description="When the host's own values were last changed")
    changed_by: str | None

    @classmethod
    def of(cls, found: HostSubsystem) -> Self:
        """The subsystem of a row."""
        row = found.row
        runs = found.in_force.values.runs
        return cls(
            name=row.name,
            values=Values.of(found.in_force.values),
            sources=dict(found.in_force.sources),
            next_run_at=row.next_run_at if runs else None,
            waits_for=row.held_for,
            last_command_id=row.last_command_id,
            last_run_at=row.last_run_at,
            last_result=row.last_result,
            last_code=row.last_code,
            failures=row.failures,
            changed_at=row.changed_at,
            changed_by=row.changed_by,
        )


class SubsystemDefault(BaseModel):
    """What is set for all hosts, or for a group's."""

    subsystem: str
    group: str | None = Field(description="null: the whole fleet")
    group_id: UUID | None
    priority: int
    values: Values
    changed_at: datetime
    changed_by: str

    @classmethod
    def of(cls, found: DefaultRow) -> Self:
        """The default of a row."""
        row = found.row
        return cls(
            subsystem=row.name,
            group=found.group,
            group_id=row.group_id,
            priority=row.priority,
            values=Values.of(row),
            changed_at=row.changed_at,
            changed_by=row.changed_by,
        )


class ChangedSubsystem(BaseModel):
    """A host's subsystem after a change; its next run follows within seconds."""

    subsystem: Subsystem
    intent_id: UUID


class ChangedDefault(BaseModel):
    """A default after a change; its hosts follow in batches."""

    default: SubsystemDefault | None = Field(description="null: it sets nothing any more")
    intent_id: UUID
