"""History: what was done, one line per operation."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from redflag_dashboard.models.commands import DURATION, HOST_TIME, CommandsMeant, away_ms, duration_ms
from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, Limit
from redflag_dashboard.rest.exporting import ExportFormat
from redflag_dashboard.sentences import sentence
from redflag_store.queries.history import Done
from redflag_store.states import CommandSource
from redflag_store.tables import UpdateHistory
from redflag_wire.command_params import CommandKind


class HistoryQuery(CommandsMeant):
    """What history to list."""

    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class HistoryExportQuery(CommandsMeant):
    """What history to export."""

    format: ExportFormat = ExportFormat.JSON


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
    source: CommandSource = Field(
        description="`manual`: an operator asked for it; `system`: RedFlag itself did"
    )
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    host_started_at: datetime | None = Field(description=HOST_TIME)
    host_finished_at: datetime | None = Field(description=HOST_TIME)
    code: str | None = Field(description="Reason of a refusal or failure, snake case")
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
                duration_ms=away_ms(command) if command.kind == CommandKind.REBOOT else duration_ms(command),
                target_kind=done.row.target_kind,
            ),
            command_id=command.id,
            op=command.op,
            host_id=command.agent_id,
            hostname=done.row.hostname,
            kind=command.kind,
            state=command.state,
            result=command.result,
            source=CommandSource(command.source),
            requested_by=command.requested_by,
            requested_at=command.requested_at,
            finished_at=command.finished_at,
            host_started_at=command.agent_started_at,
            host_finished_at=command.agent_finished_at,
            code=command.code,
            exit_code=command.exit_code,
            duration_ms=duration_ms(command),
            changes=[Change.of(change) for change in done.changes],
            change_count=done.change_count,
        )
