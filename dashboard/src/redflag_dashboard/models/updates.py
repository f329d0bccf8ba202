"""Updates: lists, approvals, and what to plan or install."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from redflag_dashboard.models.common import (
    PAGE_DEFAULT,
    Cursor,
    Digest,
    HostText,
    Limit,
    Manager,
    Name,
    Page,
    Search,
)
from redflag_dashboard.models.groups import GroupText
from redflag_dashboard.models.hosts import TagText
from redflag_dashboard.rest.binding import OBJECT, TEXT
from redflag_dashboard.rest.exporting import ExportFormat
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.updates import UpdateRow
from redflag_store.states import Availability, PackageUpdateState, UpdateEventKind, UpdateSeverity
from redflag_store.tables import UpdateEvent, UpdateHistory
from redflag_wire.limits import PACKAGES_MAX

LISTED_MAX: Final = 4000  # updates an answer about many names; all of them are counted


class UpdateConditions(Strict):
    """Which updates; all that is given must hold."""

    host: HostText | None = None
    group: GroupText | None = Field(default=None, description="Of the members of this group: id or name")
    tag: TagText | None = None
    under: HostText | None = Field(
        default=None, description="Of this host and everything below it in the tree"
    )
    state: PackageUpdateState | None = Field(
        default=None, description="Without it, all but `updated` are listed"
    )
    security: bool | None = None
    severity: UpdateSeverity | None = None
    availability: Availability | None = None
    manager: Manager | None = None
    name: Search | None = Field(default=None, description="Text the package's name contains, in any case")
    package: Name | None = Field(default=None, description="The package's exact name")
    candidate: Name | None = Field(
        default=None, description="The exact candidate; only with `package` or `host`"
    )

    @model_validator(mode="after")
    def _candidate_of_something(self) -> Self:
        if self.candidate is not None and self.package is None and self.host is None:
            raise ValueError("candidate needs package or host")
        return self


class UpdatesQuery(UpdateConditions):
    """What updates to list."""

    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class UpdatesExportQuery(UpdateConditions):
    """What updates to export, and how."""

    format: ExportFormat = ExportFormat.JSON


class Update(BaseModel):
    """An available update of one package on one host."""

    host_id: UUID
    hostname: str
    manager: str
    name: str
    arch: str
    installed: str | None
    candidate: str | None
    origin: str | None
    site: str | None = Field(description="The host it would be fetched from")
    trusted: bool | None = Field(description="Whether the source's signature was verified; null: not known")
    suite: str | None
    security: bool
    severity: UpdateSeverity | None = Field(description="By the distribution's own data")
    availability: Availability = Field(description="What the package manager says about the candidate")
    reason: str | None = Field(description="Why it is not simply available")
    phased_percent: int | None = Field(description="Share of all machines that get it now")
    size: int | None = Field(description="Bytes to download")
    state: PackageUpdateState
    approved_version: str | None
    command_id: UUID | None = Field(description="The command that works, or last worked, on it")
    first_seen_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, row: UpdateRow) -> Self:
        """The update of a row."""
        package = row.package
        return cls(
            host_id=package.agent_id,
            hostname=row.hostname,
            manager=package.manager,
            name=package.name,
            arch=package.arch,
            installed=package.installed,
            candidate=package.candidate,
            origin=package.origin,
            site=package.site,
            trusted=package.trusted,
            suite=package.suite,
            security=package.security,
            severity=None if package.severity is None else UpdateSeverity(package.severity),
            availability=Availability(package.availability),
            reason=package.reason,
            phased_percent=package.phased_percent,
            size=package.size,
            state=PackageUpdateState(row.state),
            approved_version=package.approved_version,
            command_id=package.command_id,
            first_seen_at=package.first_seen_at,
            changed_at=package.changed_at,
        )


class UpdateCounts(BaseModel):
    """Counts over all updates of the host and name asked for, whatever state or page is looked at."""

    by_state: dict[str, int]
    by_severity: dict[str, int] = Field(
        description="Those that still ask for something; the empty key is for those without a severity"
    )
    security: int = Field(description="Security updates that still ask for something")
    held_back: int = Field(description="Held, kept back, phased or pinned by the package manager")
    hosts: int | None = Field(
        description="Hosts with updates that still ask for something; null when a name filter leaves too many to count"
    )


class UpdatesPage(Page[Update]):
    """A page of updates, with the counts of everything."""

    counts: UpdateCounts


class Package(Strict):
    """One package, exactly; what is left out matches anything, and must then match one only."""

    name: Name
    manager: Manager | None = None
    arch: Name | None = None
    version: Name | None = Field(default=None, description="Refused when it is not the candidate any more")


def _is(value: object) -> str:
    return TEXT if isinstance(value, str) else OBJECT


PackageRef = Annotated[Annotated[Name, Tag(TEXT)] | Annotated[Package, Tag(OBJECT)], Discriminator(_is)]
"""A name or more; a misfit is told of the one it is, not of both."""

PackageList = Annotated[list[PackageRef], Field(min_length=1, max_length=PACKAGES_MAX)]


class DecisionRequest(Strict):
    """Which updates are meant: of one host, or of one package wherever it is listed."""

    host: HostText | None = None
    packages: PackageList | None = Field(default=None, description="Of the host")
    all: bool = Field(default=False, description="All of the host")
    security: bool = Field(default=False, description="The security updates of the host")
    package: Name | None = Field(default=None, description="Of every host that lists this package")
    candidate: Name | None = Field(
        default=None, description="With `package`: only where this is the candidate"
    )
    manager: Manager | None = Field(default=None, description="With `package`: only of this package manager")
    group: GroupText | None = Field(default=None, description="With `package`: only of members of this group")
    tag: TagText | None = None
    under: HostText | None = Field(
        default=None, description="With `package`: only of this host and all below it"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.host is None) == (self.package is None):
            raise ValueError("say either host or package")
        ways = (self.packages is not None) + self.all + self.security
        if self.host is not None and ways != 1:
            raise ValueError("say one of packages, all and security")
        if self.package is not None and ways:
            raise ValueError("packages, all and security are of one host")
        narrowed = (self.candidate, self.manager, self.group, self.tag, self.under)
        if self.host is not None and any(one is not None for one in narrowed):
            raise ValueError("candidate, manager, group, tag and under go with package")
        return self


class ApproveRequest(DecisionRequest):
    """What to approve; over many hosts the candidate is named, so that nobody approves what he did not see."""

    @model_validator(mode="after")
    def _what_was_seen(self) -> Self:
        if self.package is not None and self.candidate is None:
            raise ValueError("name the candidate to approve")
        return self


class Decided(BaseModel):
    """What an operator's word changed, and what it did not."""

    host_id: UUID | None = Field(description="Null when it was over many hosts")
    hostname: str | None
    count: int = Field(description="Updates it changed")
    hosts: int = Field(description="Hosts they are on")
    busy: int = Field(description="Left alone because a command works on them")
    intent_ids: list[UUID]


class ApproveAnswer(Decided):
    """What was approved now, and what had been before."""

    approved: list[Update] = Field(description=f"The first {LISTED_MAX}")
    already_approved: int


class DecisionAnswer(Decided):
    """What was decided now, and what had been before."""

    changed: list[Update] = Field(description=f"The first {LISTED_MAX}")
    already: int


class PlanRequest(Strict):
    """What to make a plan of: some packages, all approved ones, all security updates, or a full upgrade."""

    host: HostText
    packages: PackageList | None = Field(default=None, description="The approved ones if not given")
    manager: Manager | None = Field(
        default=None, description="Needed when the packages belong to several package managers"
    )
    mode: Literal["packages", "security", "full"] = Field(
        default="packages",
        description="`security` and `full` name no packages: the host finds them, and the plan is always confirmed",
    )

    @model_validator(mode="after")
    def _named_or_found(self) -> Self:
        if self.mode != "packages" and self.packages is not None:
            raise ValueError(f"mode {self.mode} names no packages: the host finds them")
        return self


class RollbackRequest(Strict):
    """What to bring back to an older version; a `version` is the one to return to, else the one before the last."""

    host: HostText
    packages: PackageList
    manager: Manager | None = None


class InstallRequest(Strict):
    """Which plan to carry out."""

    host: HostText
    plan_digest: Digest


class HostRequest(Strict):
    """For which host."""

    host: HostText


class HistoryQuery(Strict):
    """Which versions' history."""

    host: HostText
    package: Name | None = None
    manager: Manager | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class VersionChange(BaseModel):
    """One change of a package's version that a command made."""

    id: UUID
    host_id: UUID
    command_id: UUID | None
    manager: str
    name: str
    arch: str
    old_version: str | None
    new_version: str | None
    action: str = Field(description="install, upgrade, remove or rollback")
    result: str
    agent_started_at: datetime | None = Field(description="By the host's trusted time")
    agent_finished_at: datetime | None
    stored_at: datetime

    @classmethod
    def of(cls, row: UpdateHistory) -> Self:
        """The change of a row."""
        return cls(**row.model_dump(exclude={"agent_id"}), host_id=row.agent_id)


class UpdateEventItem(BaseModel):
    """One thing that happened to an available update; never changed."""

    id: UUID
    at: datetime
    host_id: UUID
    manager: str
    name: str
    arch: str
    kind: UpdateEventKind
    from_version: str | None
    to_version: str | None
    detail: dict[str, Any]
    command_id: UUID | None

    @classmethod
    def of(cls, row: UpdateEvent) -> Self:
        """The event of a row."""
        return cls(**row.model_dump(exclude={"agent_id"}), host_id=row.agent_id)
