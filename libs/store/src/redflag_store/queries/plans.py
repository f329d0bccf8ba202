"""Plans: what hosts answered to dry runs, which one is the newest, and an operator's confirmation.

A plan counts as the newest of its host and package manager when no later dry run of that manager was stored. A
confirmation is of the digest, so of exactly these changes: a later dry run that came to the same bytes is
confirmed with it (docs/protocol.md 6).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from redflag_store.command_states import END_STATES
from redflag_store.tables import Agent, Command, UpdatePlan

HOSTS_MAX: Final = 200  # hosts named with one plan

_Later: Any = aliased(UpdatePlan)
_Same: Any = aliased(UpdatePlan)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A host's plan.

    Attributes:
        plan: the row.
        hostname: of its host.
        newest: whether no later plan of the same host and manager exists.
        confirmed_at: when this digest was confirmed for this host; None when it was not.
        confirmed_by: by whom.
        capabilities: what the host said it can do with its package managers.
    """

    plan: UpdatePlan
    hostname: str
    newest: bool
    confirmed_at: datetime | None
    confirmed_by: str | None
    capabilities: list[Any]


@dataclass(frozen=True, slots=True)
class LastInstall:
    """The last command that was to carry out a plan."""

    command_id: UUID
    state: str
    result: str | None
    requested_at: datetime


def _select() -> Select[Any]:
    later = (
        select(_Later.id)
        .where(
            _Later.agent_id == col(UpdatePlan.agent_id),
            _Later.manager == col(UpdatePlan.manager),
            tuple_(_Later.created_at, _Later.id) > tuple_(col(UpdatePlan.created_at), col(UpdatePlan.id)),
        )
        .exists()
    )
    confirmed = (
        select(_Same.confirmed_at, _Same.confirmed_by)
        .where(
            _Same.agent_id == col(UpdatePlan.agent_id),
            _Same.digest == col(UpdatePlan.digest),
            _Same.confirmed_at.is_not(None),
        )
        .order_by(_Same.confirmed_at)
        .limit(1)
        .lateral()
    )
    return (
        select(
            UpdatePlan,
            col(Agent.hostname),
            ~later,
            confirmed.c.confirmed_at,
            confirmed.c.confirmed_by,
            col(Agent.capabilities),
        )
        .join(Agent, col(Agent.id) == col(UpdatePlan.agent_id))
        .outerjoin(confirmed, confirmed.c.confirmed_at.is_not(None))
    )


async def list_plans(
    session: AsyncSession, *, agent_id: UUID | None, after: tuple[datetime, UUID] | None, limit: int
) -> tuple[list[PlanRow], int, bool]:
    """A page of plans, newest first: rows, how many there are in all, whether others follow."""
    filters = [] if agent_id is None else [col(UpdatePlan.agent_id) == agent_id]
    total = await session.scalar(select(func.count()).select_from(UpdatePlan).where(*filters))
    key = tuple_(col(UpdatePlan.created_at), col(UpdatePlan.id))
    statement = _select().where(*filters)
    if after is not None:
        statement = statement.where(key < after)
    statement = statement.order_by(col(UpdatePlan.created_at).desc(), col(UpdatePlan.id).desc())
    found = (await session.execute(statement.limit(limit + 1))).all()
    return [PlanRow(*row) for row in found[:limit]], total or 0, len(found) > limit


async def plans_of_digest(
    session: AsyncSession, digest: str, *, agent_id: UUID | None = None
) -> list[PlanRow]:
    """The newest row of each host that came to the plan of this digest."""
    filters = [col(UpdatePlan.digest) == digest]
    if agent_id is not None:
        filters.append(col(UpdatePlan.agent_id) == agent_id)
    statement = (
        _select()
        .where(*filters)
        .ext(distinct_on(col(UpdatePlan.agent_id)))
        .order_by(col(UpdatePlan.agent_id), col(UpdatePlan.created_at).desc(), col(UpdatePlan.id).desc())
        .limit(HOSTS_MAX)
    )
    return [PlanRow(*row) for row in (await session.execute(statement)).all()]


async def last_install(
    session: AsyncSession, agent_id: UUID, digest: str, *, planned_at: datetime
) -> LastInstall | None:
    """The last command to carry out a plan; None when there was none.

    A plan that is made again after it was carried out and undone has the same digest, but is not used up: of the
    earlier commands only those that have not ended count.

    Args:
        session: the database.
        agent_id: the host.
        digest: of the plan.
        planned_at: when the host came to this plan last.
    """
    statement = (
        select(col(Command.id), col(Command.state), col(Command.result), col(Command.requested_at))
        .where(
            col(Command.agent_id) == agent_id,
            col(Command.kind).in_(["install_updates", "rollback_update"]),
            col(Command.params)["plan_digest"].astext == digest,
            or_(col(Command.requested_at) >= planned_at, col(Command.state).not_in(END_STATES)),
        )
        .order_by(col(Command.requested_at).desc(), col(Command.id).desc())
        .limit(1)
    )
    row = (await session.execute(statement)).first()
    return None if row is None else LastInstall(*row)


async def confirm_plan(
    session: AsyncSession, plan_id: UUID, *, operator: str, intent_id: UUID, at: datetime
) -> None:
    """Note who confirmed a plan; one that is confirmed stays as it was. The caller commits."""
    await session.execute(
        update(UpdatePlan)
        .where(col(UpdatePlan.id) == plan_id, col(UpdatePlan.confirmed_at).is_(None))
        .values(confirmed_at=at, confirmed_by=operator, confirm_intent_id=intent_id),
        execution_options={"synchronize_session": False},
    )
