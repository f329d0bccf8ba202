"""Plans: what exactly a host would do."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from redflag_dashboard.capabilities import why_no_install
from redflag_dashboard.models.common import PAGE_DEFAULT, Cursor, HostText, Limit
from redflag_dashboard.rest.route import Strict
from redflag_store.queries.plans import LastInstall, PlanRow
from redflag_wire.command_params import PackageRef, PlanMode
from redflag_wire.plan import Plan


class PlansQuery(Strict):
    """What plans to list."""

    host: HostText | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_DEFAULT


class PlanQuery(Strict):
    """Which host's plan; without it the answer names every host that came to it."""

    host: HostText | None = None


class PlanSummary(BaseModel):
    """A host's plan without its items."""

    digest: str
    host_id: UUID
    hostname: str
    manager: str
    mode: PlanMode = Field(
        description="What was asked for; all but `packages` are confirmed whatever they do"
    )
    item_count: int
    extra_count: int = Field(description="Changes beyond the packages asked for")
    removes: int
    newest: bool = Field(description="Whether no later plan of this host and manager exists")
    needs_confirmation: bool = Field(description="Whether it is to be confirmed before it can be installed")
    cannot_install: str | None = Field(
        description="Why the host only looks for updates of this manager; null when it installs them"
    )
    confirmed_at: datetime | None
    confirmed_by: str | None
    created_at: datetime
    command_id: UUID

    @classmethod
    def of(cls, row: PlanRow) -> Self:
        """The summary of a row."""
        plan = row.plan
        return cls(
            digest=plan.digest,
            host_id=plan.agent_id,
            hostname=row.hostname,
            manager=plan.manager,
            mode=PlanMode(plan.mode),
            item_count=plan.item_count,
            extra_count=plan.extra_count,
            removes=plan.removes,
            newest=row.newest,
            needs_confirmation=row.confirmed_at is None
            and (
                plan.extra_count > 0
                or plan.removes > 0
                or (plan.mode != PlanMode.PACKAGES and plan.item_count > 0)
            ),
            cannot_install=why_no_install(row.capabilities, plan.manager),
            confirmed_at=row.confirmed_at,
            confirmed_by=row.confirmed_by,
            created_at=plan.created_at,
            command_id=plan.command_id,
        )


class PlanChange(BaseModel):
    """One change of a plan."""

    name: str
    arch: str
    old: str | None
    new: str | None
    origin: str
    action: Literal["install", "upgrade", "downgrade", "remove"]
    asked: bool = Field(description="Whether it was asked for; false for what comes with it")


class Attempt(BaseModel):
    """The last command that was to carry out the plan."""

    command_id: UUID
    state: str
    result: str | None
    requested_at: datetime


class PlanDetail(BaseModel):
    """A plan, whole."""

    digest: str
    manager: str
    mode: PlanMode
    request: list[PackageRef]
    items: list[PlanChange]
    hosts: list[PlanSummary] = Field(description="Hosts whose dry run came to exactly this plan")
    last_install: Attempt | None = Field(description="Only when one host is asked for")
    plan: str = Field(description="The plan's bytes as the host wrote them, base64; `digest` is over them")

    @classmethod
    def of(cls, rows: Sequence[PlanRow], last: LastInstall | None) -> Self:
        """The plan of the rows of one digest.

        Raises:
            redflag_wire.errors.SchemaRefusedError: the stored bytes are no plan.
        """
        data = bytes(rows[0].plan.plan)
        plan = Plan.from_bytes(data)
        asked = {(one.name, one.arch) for one in plan.request}
        return cls(
            digest=rows[0].plan.digest,
            manager=plan.manager,
            mode=plan.mode,
            request=plan.request,
            items=[
                PlanChange(
                    name=item.name,
                    arch=item.arch,
                    old=item.old,
                    new=item.new,
                    origin=item.origin,
                    action=item.action,
                    asked=(item.name, item.arch) in asked,
                )
                for item in plan.items
            ],
            hosts=[PlanSummary.of(row) for row in rows],
            last_install=None
            if last is None
            else Attempt(
                command_id=last.command_id,
                state=last.state,
                result=last.result,
                requested_at=last.requested_at,
            ),
            plan=b64encode(data).decode("ascii"),
        )
