"""Commands and their timelines."""

from base64 import b64encode
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from redflag_dashboard.code_words import in_words
from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Search
from redflag_dashboard.models.groups import GroupText
from redflag_dashboard.models.hosts import TagText
from redflag_dashboard.rest.route import Strict
from redflag_store.command_states import END_STATES, ServerState
from redflag_store.queries.commands import CommandRow
from redflag_store.states import CommandSource
from redflag_store.tables import Command as Row
from redflag_store.tables import CommandEvent
from redflag_wire.command_params import CommandKind
from redflag_wire.limits import LONG_POLL_MAX_S

HOST_TIME: Final = "The host's trusted time: the server's signed time, carried on by a clock that never jumps"
DURATION: Final = "Of the work on the host, in milliseconds: as it reported it, else between its two times"


def duration_ms(command: Row) -> int | None:
    """How long the host worked on a command, in milliseconds; None when nobody can tell."""
    began, ended = command.agent_started_at, command.agent_finished_at
    if command.duration_ms is not None or began is None or ended is None:
        return command.duration_ms
    return max(0, round((ended - began).total_seconds() * 1000))


def away_ms(command: Row) -> int | None:
    """How long a restart took, delay included, in milliseconds: by the host's times, else by the server's.

    A host that is just back may have no trusted time yet, and then says no time for its end.
    """
    known = duration_ms(command)
    if known is not None or command.started_at is None or command.finished_at is None:
        return known
    return max(0, round((command.finished_at - command.started_at).total_seconds() * 1000))


class CommandsMeant(Strict):
    """Which commands are meant; all that is given must hold."""

    host: HostText | None = None
    group: GroupText | None = Field(default=None, description="Of members of this group: its id or name")
    tag: TagText | None = None
    under: HostText | None = Field(
        default=None, description="Of this host and everything below it in the tree"
    )
    os: Search | None = Field(
        default=None, description="Text in the host's operating system: name or version"
    )
    kind: CommandKind | None = None
    state: ServerState | None = None
    source: CommandSource | None = Field(
        default=None, description="`manual`: an operator asked for it; `system`: RedFlag itself did"
    )
    op: UUID | None = Field(default=None, description="Correlation id of the request that asked for it")
    since: AwareDatetime | None = Field(default=None, description="Asked for at this time or later")
    until: AwareDatetime | None = Field(default=None, description="Asked for before this time")


class CommandsQuery(CommandsMeant):
    """What commands to list."""

    pending: bool | None = Field(default=None, description="Without an end yet, or with one")
    retry_of: UUID | None = Field(default=None, description="The retry of this command")
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class CommandQuery(Strict):
    """Whether to wait for the command to move."""

    wait: float = Field(
        default=0, ge=0, le=LONG_POLL_MAX_S, description="Seconds to wait for another state, at most"
    )
    after_state: ServerState | None = Field(
        default=None, description="Wait until the state is another one; the present one if not given"
    )


class Command(BaseModel):
    """A command."""

    id: UUID
    op: UUID | None = Field(description="Correlation id, from the request to the host and back")
    host_id: UUID
    hostname: str
    kind: str
    params: dict[str, Any]
    state: ServerState
    ended: bool = Field(description="Whether the server awaits nothing more")
    result: str | None
    code: str | None = Field(description="Reason of a refusal or failure, snake case")
    reason: str | None = Field(description="`code` in words")
    error: str | None
    summary: dict[str, Any] | None
    requested_by: str
    requested_at: datetime
    signed_at: datetime | None
    queued_at: datetime | None
    delivered_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    host_started_at: datetime | None = Field(description=HOST_TIME)
    host_finished_at: datetime | None = Field(description=HOST_TIME)
    expires_at: datetime | None
    source: CommandSource = Field(
        description="`manual`: an operator asked for it; `system`: RedFlag itself did"
    )
    deliveries: int = Field(description="How often it was handed to the host's agent")
    retry_of: UUID | None = Field(description="The ended command it was asked for in the stead of")
    retried_by: UUID | None = Field(description="The command that was asked for in its stead")
    retry_depth: int = Field(description="How many retries lead here; 0 for a first try")
    plan_digest: str | None
    exit_code: int | None
    duration_ms: int | None = Field(description=DURATION)
    digest: str | None = Field(description="sha256 of the signed payload")

    @classmethod
    def of(cls, row: CommandRow) -> Self:
        """The command of a row."""
        return cls(**_fields(row))


def _fields(row: CommandRow) -> dict[str, Any]:
    command = row.command
    return {
        "id": command.id,
        "op": command.op,
        "host_id": command.agent_id,
        "hostname": row.hostname,
        "kind": command.kind,
        "params": command.params,
        "state": ServerState(command.state),
        "ended": command.state in END_STATES,
        "result": command.result,
        "code": command.code,
        "reason": in_words(command.code),
        "error": command.error,
        "summary": command.summary,
        "requested_by": command.requested_by,
        "requested_at": command.requested_at,
        "signed_at": command.signed_at,
        "queued_at": command.queued_at,
        "delivered_at": command.delivered_at,
        "started_at": command.started_at,
        "finished_at": command.finished_at,
        "host_started_at": command.agent_started_at,
        "host_finished_at": command.agent_finished_at,
        "expires_at": command.exp,
        "source": CommandSource(command.source),
        "deliveries": command.deliveries,
        "retry_of": command.retry_of,
        "retried_by": row.retried_by,
        "retry_depth": command.retry_depth,
        "plan_digest": command.plan_digest,
        "exit_code": command.exit_code,
        "duration_ms": duration_ms(command),
        "digest": command.digest,
    }


class TimelineEvent(BaseModel):
    """One move of a command, or a remark on it."""

    at: datetime
    host_at: datetime | None = Field(description=HOST_TIME)
    from_state: str | None
    to_state: str
    cause: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: CommandEvent) -> Self:
        """The event of a row."""
        return cls(
            at=event.at,
            host_at=event.agent_at,
            from_state=event.from_state,
            to_state=event.to_state,
            cause=event.cause,
            detail=event.detail,
        )


class Cancelling(BaseModel):
    """The newest attempt to cancel a command."""

    command_id: UUID = Field(description="The command that cancels it")
    state: ServerState
    code: str | None = Field(description="Why it could not be cancelled")
    reason: str | None = Field(description="`code` in words")
    requested_by: str
    requested_at: datetime

    @classmethod
    def of(cls, command: Row) -> Self:
        """The attempt that a command of kind `cancel` is."""
        return cls(
            command_id=command.id,
            state=ServerState(command.state),
            code=command.code,
            reason=in_words(command.code),
            requested_by=command.requested_by,
            requested_at=command.requested_at,
        )


class CommandDetail(Command):
    """A command with everything known about it."""

    cancel: Cancelling | None = Field(description="The newest attempt to cancel it")
    events: list[TimelineEvent]
    stdout: str | None = Field(description="First and last 64 KiB")
    stderr: str | None = Field(description="First and last 64 KiB")
    envelope: str | None = Field(description="The signed bytes, base64; null until signed")

    @classmethod
    def whole(cls, row: CommandRow, events: list[CommandEvent], cancel: Row | None) -> Self:
        """The command of a row that was loaded whole."""
        command = row.command
        return cls(
            **_fields(row),
            cancel=None if cancel is None else Cancelling.of(cancel),
            events=[TimelineEvent.of(event) for event in events],
            stdout=command.stdout,
            stderr=command.stderr,
            envelope=None if command.envelope is None else b64encode(command.envelope).decode("ascii"),
        )
