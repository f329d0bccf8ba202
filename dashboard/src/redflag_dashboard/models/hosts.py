"""Hosts and the fleet's figures."""

from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from redflag_dashboard.agent_versions import Wanted
from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Manager, Name, Search
from redflag_dashboard.models.groups import GroupText
from redflag_dashboard.models.tokens import TagName
from redflag_dashboard.rest.exporting import ExportFormat
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.hosts import FleetFigures, HostRow
from redflag_store.queries.tags import TAGS_MAX
from redflag_store.states import AgentState
from redflag_wire import agent_version

_TAG_NAME: Final = TypeAdapter(TagName)


def split_tag(text: str) -> tuple[str, str | None]:
    """Name and value of `name` or `name=value`; None for no value."""
    name, equals, value = text.partition("=")
    return name, value if equals else None


def _check_tag(text: str) -> str:
    try:
        _TAG_NAME.validate_python(split_tag(text)[0])
    except ValidationError:
        raise ValueError("write a tag as NAME or NAME=VALUE; a name has letters, digits, _ . -") from None
    if "\x00" in text:
        raise ValueError("holds a NUL character")
    return text


def _check_version(text: str) -> str:
    if not agent_version.parse(text).is_known:
        raise ValueError("write a version such as 1.2.3")
    return text


HOST_SUBSYSTEMS: Final = ("system", "storage", "all")
"""What every host can be asked to look at, whatever package managers it has."""


TagText = Annotated[
    str,
    StringConstraints(max_length=512),
    AfterValidator(_check_tag),
    Field(description="A tag's name, or name=value"),
]
VersionText = Annotated[Name, AfterValidator(_check_version)]


class HostConditions(Strict):
    """Which hosts; all that is given must hold."""

    q: Search | None = Field(default=None, description="Text in the name or operating system, in any case")
    state: AgentState | None = None
    group: GroupText | None = Field(default=None, description="Members of this group: id or name")
    tag: TagText | None = None
    under: HostText | None = Field(default=None, description="This host and everything below it in the tree")
    os: Search | None = Field(default=None, description="Text in the operating system's id, name or version")
    version_below: VersionText | None = Field(default=None, description="Agents older than this version")
    reboot_required: bool | None = None


class HostsQuery(HostConditions):
    """What hosts to list."""

    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class HostsExportQuery(HostConditions):
    """What hosts to export."""

    format: ExportFormat = ExportFormat.JSON


class HostGroup(BaseModel):
    """A group a host is in."""

    id: UUID
    name: str


class HostUpdates(BaseModel):
    """Updates that still ask for something."""

    available: int
    security: int
    approved: int


class Host(BaseModel):
    """A host."""

    id: UUID
    hostname: str
    state: AgentState
    os_id: str | None
    os_name: str | None
    os_version: str | None
    arch: str | None
    kernel: str | None
    agent_version: str | None = Field(description="By the host's last signed facts")
    update_available: bool = Field(description="Whether a newer agent than this one is to be had")
    below_minimum: bool = Field(description="Whether its agent must be updated before anything else")
    capabilities: list[Any] = Field(description="Package managers: manager, can_install, reason")
    tags: dict[str, Any]
    groups: list[HostGroup]
    parent_id: UUID | None = Field(description="The host it runs on")
    parent: str | None = Field(description="That host's name")
    reboot_required: bool
    created_at: datetime
    last_seen_at: datetime | None
    last_report_at: datetime | None
    inventory_at: datetime | None = Field(description="When its list of updates was last stored")
    inventory_source_age_s: int | None = Field(description="Age of the package lists behind it, in seconds")
    fast_until: datetime | None = Field(description="End of fast mode, by the host's own last word")
    fast_until_stopped: bool = Field(description="Fast mode without an end")
    updates: HostUpdates
    pending_commands: int

    @classmethod
    def of(cls, row: HostRow, wanted: Wanted) -> Self:
        """The host of a row, its agent held against the versions in force."""
        agent, updates = row.agent, row.updates
        return cls(
            id=agent.id,
            hostname=agent.hostname,
            state=AgentState(agent.state),
            os_id=agent.os_id,
            os_name=agent.os_name,
            os_version=agent.os_version,
            arch=agent.arch,
            kernel=agent.kernel,
            agent_version=agent.agent_version,
            update_available=wanted.update_available(agent.agent_version),
            below_minimum=wanted.below_minimum(agent.agent_version),
            capabilities=agent.capabilities,
            tags=agent.tags,
            groups=[HostGroup(id=one.id, name=one.name) for one in row.groups],
            parent_id=agent.parent_id,
            parent=row.parent,
            reboot_required=agent.reboot_required,
            created_at=agent.created_at,
            last_seen_at=agent.last_seen_at,
            last_report_at=agent.last_report_at,
            inventory_at=agent.inventory_at,
            inventory_source_age_s=agent.inventory_source_age_s,
            fast_until=agent.fast_until,
            fast_until_stopped=agent.fast_forever,
            updates=HostUpdates(
                available=updates.available, security=updates.security, approved=updates.approved
            ),
            pending_commands=row.pending_commands,
        )


class ScanRequest(Strict):
    """Look for updates now."""

    subsystem: Manager = Field(default="all", description="A package manager, `system`, `storage`, or `all`")
    refresh: bool = Field(default=True, description="Fetch fresh package lists first, where the host may")
    full: bool = Field(
        default=False, description="Send everything, whatever the server has confirmed already"
    )


class Fleet(BaseModel):
    """The figures of the whole fleet."""

    fleet: UUID
    hosts: dict[str, int] = Field(description="Host state: count")
    seen_lately: int = Field(description="Active hosts seen within `lately_s`")
    lately_s: int
    reboot_required: int
    updates: dict[str, int] = Field(description="Update state: count; updated ones left out")
    security: int
    commands_pending: int

    @classmethod
    def of(cls, fleet: UUID, figures: FleetFigures, lately_s: int) -> Self:
        """The answer of the figures."""
        return cls(
            fleet=fleet,
            hosts=dict(figures.hosts),
            seen_lately=figures.seen_lately,
            lately_s=lately_s,
            reboot_required=figures.reboot_required,
            updates=dict(figures.updates),
            security=figures.security,
            commands_pending=figures.commands_pending,
        )


class TagsRequest(Strict):
    """Change a host's tags; the others stay."""

    set: dict[TagName, Name] = Field(default_factory=dict, max_length=TAGS_MAX)
    remove: list[TagName] = Field(default_factory=list, max_length=TAGS_MAX)


class ParentRequest(Strict):
    """Say on which host a host runs."""

    parent: HostText | None = Field(description="Id or name; null for none")
