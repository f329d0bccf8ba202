"""Hosts and the fleet's figures."""

from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, Limit, Manager, Search
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.hosts import FleetFigures, HostRow
from redflag_store.states import AgentState

HOST_SUBSYSTEMS: Final = ("system", "storage", "all")
"""What every host can be asked to look at, whatever package managers it has."""


class HostsQuery(Strict):
    """What hosts to list."""

    q: Search | None = Field(default=None, description="Text in the name or operating system, in any case")
    state: AgentState | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


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
    agent_version: str | None
    capabilities: list[Any] = Field(description="Package managers: manager, can_install, reason")
    tags: dict[str, Any]
    reboot_required: bool
    created_at: datetime
    last_seen_at: datetime | None
    last_report_at: datetime | None
    inventory_at: datetime | None = Field(description="When its list of updates was last stored")
    inventory_source_age_s: int | None = Field(description="Age of the package lists behind it, in seconds")
    updates: HostUpdates
    pending_commands: int

    @classmethod
    def of(cls, row: HostRow) -> Self:
        """The host of a row."""
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
            capabilities=agent.capabilities,
            tags=agent.tags,
            reboot_required=agent.reboot_required,
            created_at=agent.created_at,
            last_seen_at=agent.last_seen_at,
            last_report_at=agent.last_report_at,
            inventory_at=agent.inventory_at,
            inventory_source_age_s=agent.inventory_source_age_s,
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
