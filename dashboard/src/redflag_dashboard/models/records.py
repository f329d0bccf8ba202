"""System events, and facts about the API itself."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Search
from redflag_dashboard.rest.exporting import ExportFormat
from redflag_dashboard.rest.route import Strict
from redflag_store.states import Severity
from redflag_store.tables import SystemEvent


class EventConditions(Strict):
    """Which system events; all that is given must hold."""

    host: HostText | None = None
    severity: Severity | None = Field(default=None, description="This one or a worse one")
    component: Search | None = Field(
        default=None, description="From this component or a part of it: `agent` stands for `agent.poller` too"
    )
    code: Search | None = None
    since: AwareDatetime | None = Field(default=None, description="First happened then or later")
    until: AwareDatetime | None = Field(default=None, description="First happened before then")


class EventsQuery(EventConditions):
    """What system events to list."""

    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class EventsExportQuery(EventConditions):
    """What system events to export."""

    format: ExportFormat = ExportFormat.JSON


class Event(BaseModel):
    """Something about the system or a host that an operator should know."""

    id: UUID
    at: datetime
    severity: Severity
    component: str
    code: str
    message: str
    host_id: UUID | None
    hostname: str | None
    data: dict[str, Any] = Field(description="Of the last time")
    count: int = Field(description="How often it happened, when the same came again within a while")
    last_at: datetime | None = Field(description="Its last time, when it happened more than once")

    @classmethod
    def of(cls, row: tuple[SystemEvent, str | None]) -> Self:
        """The event of a row."""
        event, hostname = row
        return cls(
            id=event.id,
            at=event.at,
            severity=Severity(event.severity),
            component=event.component,
            code=event.code,
            message=event.message,
            host_id=event.agent_id,
            hostname=hostname,
            data=event.data,
            count=event.count,
            last_at=event.last_at,
        )


class InfoBuild(BaseModel):
    """Where the running code comes from."""

    commit: str
    source: str = Field(
        description="`package`: written into it when it was made; `checkout`: what is checked out"
    )


class Info(BaseModel):
    """What answers here."""

    name: str
    version: str
    build: InfoBuild | None = Field(description="Null when it cannot be told")
    api: str
    time: datetime = Field(description="The server's clock")
