"""Jobs: one operation over many hosts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, model_validator

from redflag_dashboard.code_words import in_words
from redflag_dashboard.job_rules import JobKind, LeftOut
from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit, Manager
from redflag_dashboard.models.hosts import HostConditions
from redflag_dashboard.rest.route import Strict
from redflag_store.command_states import END_STATES
from redflag_store.queries.host_filter import IDS_MAX
from redflag_store.queries.jobs import ItemView, JobView
from redflag_store.states import JobItemState, JobState
from redflag_wire.command_params import CommandKind, PlanMode

LEFT_OUT_SHOWN: Final = 100  # hosts left out that one answer names; all are counted


class PlanJobParams(Strict):
    """What to plan on each host."""

    mode: PlanMode = Field(
        default=PlanMode.PACKAGES,
        description="`packages`: what is approved on each host; `security`, `full`: what each host finds",
    )
    manager: Manager | None = Field(
        default=None, description="Needed where a host has several package managers"
    )

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.mode is PlanMode.ROLLBACK:
            raise ValueError("a rollback is planned host by host")
        return self


class JobRequest(Strict):
    """What to ask of which hosts; they are chosen now, hosts that come later are not asked."""

    kind: JobKind
    params: dict[str, JsonValue] = Field(
        default_factory=dict,
        max_length=16,
        description="Of the commands, as for one host; for plans mode and manager",
    )
    hosts: Annotated[list[HostText], Field(min_length=1, max_length=IDS_MAX)] | None = Field(
        default=None, description="These, by id or name"
    )
    filter: HostConditions | None = Field(default=None, description="All active hosts that match")
    all: bool = Field(default=False, description="All active hosts")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.hosts is not None) + (self.filter is not None) + self.all != 1:
            raise ValueError("say one of hosts, filter and all")
        if self.filter is not None and self.filter == HostConditions():
            raise ValueError("an empty filter means every host; say all")
        return self


class JobPath(Strict):
    """A job in the path."""

    job: UUID


class JobsQuery(Strict):
    """What jobs to list."""

    state: JobState | None = None
    kind: JobKind | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class JobItemsQuery(Strict):
    """What items of a job to list."""

    state: JobItemState | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class Job(BaseModel):
    """A job and how far it is."""

    id: UUID
    op: UUID = Field(description="Correlation id; its commands carry the same")
    kind: JobKind
    params: dict[str, Any] = Field(description="Of its commands; what differs from host to host is left out")
    state: JobState
    ended: bool
    requested_by: str
    requested_at: datetime
    total: int = Field(description="Hosts")
    left_out_count: int = Field(description="Hosts that match and were not asked; the job itself names them")
    waiting: int = Field(description="Hosts nothing became of yet")
    made: int = Field(description="Hosts that were given a command")
    refused: int = Field(description="Hosts that were given none; the items say why")
    commands: dict[str, int] = Field(description="State of command: count")
    done: int = Field(description="Hosts whose part is over: refused, or a command with an end")
    cancelled_by: str | None
    cancelled_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, view: JobView) -> Self:
        """The job of a row."""
        return cls(**_fields(view))


def _fields(view: JobView) -> dict[str, Any]:
    job = view.job
    plan = job.kind == CommandKind.DRY_RUN_UPDATE
    ended = sum(count for state, count in view.commands.items() if state in END_STATES)
    return {
        "id": job.id,
        "op": job.op,
        "kind": JobKind.PLAN if plan else JobKind(job.kind),
        "params": {name: value for name, value in job.params.items() if not (plan and name == "packages")},
        "state": JobState(job.state),
        "ended": job.finished_at is not None,
        "requested_by": job.requested_by,
        "requested_at": job.requested_at,
        "total": job.total,
        "left_out_count": 0 if job.left_out is None else job.left_out["count"],
        "waiting": view.waiting,
        "made": job.made,
        "refused": job.refused,
        "commands": dict(view.commands),
        "done": job.refused + ended,
        "cancelled_by": job.cancelled_by,
        "cancelled_at": job.cancelled_at,
        "finished_at": job.finished_at,
    }


class LeftOutHost(BaseModel):
    """A host that matches and is not asked."""

    host_id: UUID
    hostname: str
    code: str
    reason: str | None = Field(description="`code` in words")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The host and why."""
        return cls(**stored, reason=in_words(stored["code"]))


def left_out_to_store(left_out: Sequence[LeftOut]) -> dict[str, Any] | None:
    """The hosts that are not asked as the job keeps them; None for none."""
    if not left_out:
        return None
    hosts = [
        {"host_id": str(one.host.id), "hostname": one.host.hostname, "code": one.code}
        for one in left_out[:LEFT_OUT_SHOWN]
    ]
    return {"count": len(left_out), "hosts": hosts}


class JobInFull(Job):
    """A job, with the hosts that match and are not in it."""

    left_out: list[LeftOutHost] = Field(
        description=f"At most {LEFT_OUT_SHOWN}; `left_out_count` says how many"
    )

    @classmethod
    def of(cls, view: JobView) -> Self:
        """The job of a row."""
        stored = view.job.left_out or {"hosts": []}
        return cls(**_fields(view), left_out=[LeftOutHost.of(one) for one in stored["hosts"]])


class JobItem(BaseModel):
    """One host's part of a job."""

    position: int
    host_id: UUID
    hostname: str
    state: JobItemState
    code: str | None = Field(description="Why there is no command, or why not yet")
    reason: str | None = Field(description="`code` in words")
    tries: int
    due_at: datetime | None = Field(description="When it is tried again, while it waits")
    command_id: UUID | None
    command_state: str | None
    command_result: str | None
    command_code: str | None = Field(description="Reason of the command's refusal or failure, snake case")
    command_reason: str | None = Field(description="`command_code` in words")
    existing_id: UUID | None = Field(description="The command that does the same already")
    cancel_id: UUID | None = Field(description="The command that cancels its command")
    decided_at: datetime | None

    @classmethod
    def of(cls, view: ItemView) -> Self:
        """The item of a row."""
        item = view.item
        return cls(
            position=item.position,
            host_id=item.agent_id,
            hostname=view.hostname,
            state=JobItemState(item.state),
            code=item.code,
            reason=in_words(item.code),
            tries=item.tries,
            due_at=item.due_at if item.state == JobItemState.WAITING else None,
            command_id=item.command_id,
            command_state=view.command_state,
            command_result=view.command_result,
            command_code=view.command_code,
            command_reason=in_words(view.command_code),
            existing_id=item.existing_id,
            cancel_id=item.cancel_id,
            decided_at=item.decided_at,
        )
