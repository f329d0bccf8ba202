"""Updates: lists, approvals, and what to plan or install."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

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
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.updates import UpdateRow
from redflag_store.states import Availability, PackageUpdateState
from redflag_wire.limits import PACKAGES_MAX


class UpdatesQuery(Strict):
    """What updates to list."""

    host: HostText | None = None
    state: PackageUpdateState | None = Field(
        default=None, description="Without it, all but `updated` are listed"
    )
    security: bool | None = None
    name: Search | None = Field(default=None, description="Text the package's name contains, in any case")
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


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
    suite: str | None
    security: bool
    availability: Availability = Field(description="What the package manager says about the candidate")
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
            suite=package.suite,
            security=package.security,
            availability=Availability(package.availability),
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
    security: int = Field(description="Security updates that still ask for something")
    held_back: int = Field(description="Held, kept back or phased by the package manager")
    hosts: int = Field(description="Hosts with updates that still ask for something")


class UpdatesPage(Page[Update]):
    """A page of updates, with the counts of everything."""

    counts: UpdateCounts


class Package(Strict):
    """One package, exactly; what is left out matches anything, and must then match one only."""

    name: Name
    manager: Manager | None = None
    arch: Name | None = None
    version: Name | None = Field(default=None, description="Refused when it is not the candidate any more")


PackageList = Annotated[list[Name | Package], Field(min_length=1, max_length=PACKAGES_MAX)]


class ApproveRequest(Strict):
    """What to approve: some packages, all of the host, or its security updates."""

    host: HostText
    packages: PackageList | None = None
    all: bool = False
    security: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.packages is not None) + self.all + self.security != 1:
            raise ValueError("say one of packages, all and security")
        return self


class ApproveAnswer(BaseModel):
    """What was approved now, and what had been before."""

    host_id: UUID
    hostname: str
    approved: list[Update]
    already_approved: int
    intent_ids: list[UUID]


class PlanRequest(Strict):
    """What to make a plan of: some packages, or all approved ones."""

    host: HostText
    packages: PackageList | None = Field(default=None, description="The approved ones if not given")
    manager: Manager | None = Field(
        default=None, description="Needed when the packages belong to several package managers"
    )


class InstallRequest(Strict):
    """Which plan to carry out."""

    host: HostText
    plan_digest: Digest


class HostRequest(Strict):
    """For which host."""

    host: HostText
