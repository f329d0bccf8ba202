"""History, system events, and facts about the API itself."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from redflag_dashboard.models.commands import DURATION, HOST_TIME, duration_ms
from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Search
from redflag_dashboard.rest.route import Strict
from redflag_dashboard.sentences import sentence
from redflag_store.queries.history import Done
from redflag_store.states import Severity
from redflag_store.tables import SystemEvent, UpdateHistory
from redflag_wire.command_params import CommandKind


class HistoryQuery(Strict):
    """What history to list."""

    host: HostText | None = None
    kind: CommandKind | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class Change(BaseModel):
    """What became of one package."""

    manager: str
    name: str
    arch: str
    old: str | None
    new: str | None
    action: str
    result: str

    @classmethod
    def of(cls, row: UpdateHistory) -> Self:
        """The change of a row."""
        return cls(
            manager=row.manager,
            name=row.name,
            arch=row.arch,
            old=row.old_version,
            new=row.new_version,
            action=row.action,
            result=row.result,
        )


class HistoryLine(BaseModel):
    """One operation on one host that came to an end."""

    text: str = Field(description="What was done, in one line")
    command_id: UUID
    op: UUID | None
    host_id: UUID
    hostname: str
    kind: str
    state: str
    result: str | None
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    host_started_at: datetime | None = Field(description=HOST_TIME)
    host_finished_at: datetime | None = Field(description=HOST_TIME)
    exit_code: int | None
    duration_ms: int | None = Field(description=DURATION)
    changes: list[Change] = Field(description="At most 200; `change_count` says how many there are")
    change_count: int

    @classmethod
    def of(cls, done: Done) -> Self:
        """The line of an operation."""
        command = done.row.command
        return cls(
            text=sentence(
                kind=command.kind,
                state=command.state,
                params=command.params,
                summary=command.summary,
                code=command.code,
                error=command.error,
                duration_ms=duration_ms(command),
            ),
            command_id=command.id,
            op=command.op,
            host_id=command.agent_id,
            hostname=done.row.hostname,
            kind=command.kind,
            state=command.state,
            result=command.result,
            requested_by=command.requested_by,
            requested_at=command.requested_at,
            finished_at=command.finished_at,
            host_started_at=command.agent_started_at,
            host_finished_at=command.agent_finished_at,
            exit_code=command.exit_code,
            duration_ms=duration_ms(command),
            changes=[Change.of(change) for change in done.changes],
            change_count=done.change_count,
        )


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
