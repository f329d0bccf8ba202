"""System events, and facts about the API itself."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Search
from redflag_dashboard.rest.route import Strict
from redflag_store.states import Severity
from redflag_store.tables import SystemEvent


class EventsQuery(Strict):
    """What system events to list."""

    host: HostText | None = None
    severity: Severity | None = Field(default=None, description="This one or a worse one")
    component: Search | None = None
    code: Search | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


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
    data: dict[str, Any]

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
        )


class Info(BaseModel):
    """What answers here."""

    name: str
    version: str
    api: str
    time: datetime = Field(description="The server's clock")
