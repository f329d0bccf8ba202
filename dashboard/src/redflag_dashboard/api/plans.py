"""Plans: listing, showing, confirming."""

from typing import Final

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.models.common import Page, PlanPath
from redflag_dashboard.models.plans import PlanDetail, PlanQuery, PlansQuery, PlanSummary
from redflag_dashboard.models.updates import HostRequest
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store.command_states import END_STATES, ServerState
from redflag_store.queries.hosts import lock_host
from redflag_store.queries.plans import (
    PlanRow,
    confirm_plan,
    last_install,
    list_plans,
    plans_of_digest,
)
from redflag_store.queries.update_decisions import note_confirmation
from redflag_wire.errors import WireError
from redflag_wire.intent import IntentVerb

_NOTHING_DONE: Final = frozenset({ServerState.CANCELLED, ServerState.EXPIRED, ServerState.REJECTED})
"""Ends of an installation that leave the host as it was."""


async def list_(call: Call[Nothing, PlansQuery, Nothing]) -> Answer:
    """List plans, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        agent = await host_lookup.host_id(session, query.host)
        rows, total, more = await list_plans(session, agent_id=agent, after=after, limit=query.limit)
    last = rows[-1].plan if more else None
    return Answer(
        Page[PlanSummary](
            items=[PlanSummary.of(row) for row in rows],
            next=None if last is None else cursor.encode((last.created_at, last.id)),
            total=total,
        )
    )


async def show(call: Call[PlanPath, PlanQuery, Nothing]) -> Answer:
    """Show a plan, whole."""
    async with call.parts.sessions() as session:
        agent = await host_lookup.host_id(session, call.query.host)
        rows = await plans_of_digest(session, call.path.digest, agent_id=agent)
        if not rows:
            raise ProblemError(ProblemCode.PLAN_NOT_FOUND, f"no dry run came to the plan {call.path.digest}")
        last = (
            None
            if agent is None
            else await last_install(session, agent, call.path.digest, planned_at=rows[0].plan.created_at)
        )
    try:
        return Answer(PlanDetail.of(rows, last))
    except WireError as error:
        raise ProblemError(
            ProblemCode.PLAN_NOT_FOUND, f"the stored plan cannot be read ({error.code}); plan again"
        ) from None


async def confirm(call: Call[PlanPath, Nothing, HostRequest]) -> Answer:
    """Confirm everything a plan does, beyond the packages asked for too."""
    host = await host_lookup.one_host(call.tx, call.body.host)
    agent, digest = host.agent.id, call.path.digest
    await lock_host(call.tx, agent)
    rows = await plans_of_digest(call.tx, digest, agent_id=agent)
    if not rows:
        raise ProblemError(ProblemCode.PLAN_NOT_FOUND, f"{host.agent.hostname} has no plan {digest}")
    row = rows[0]
    if not row.newest:
        raise ProblemError(
            ProblemCode.PLAN_OUTDATED, "a later plan of this host exists; look at that one and confirm it"
        )
    await _refuse_used(call, row)
    if row.confirmed_at is None:
        intent = commanding.intent_of(
            call, IntentVerb.CONFIRM_PLAN, [agent], {"manager": row.plan.manager, "plan_digest": digest}
        )
        await commanding.store(call, intent)
        now = call.parts.clock.now()
        await confirm_plan(call.tx, row.plan.id, operator=call.operator, intent_id=intent.id, at=now)
        await note_confirmation(call.tx, agent, row.plan.command_id, now)
        rows = await plans_of_digest(call.tx, digest, agent_id=agent)
    return Answer(PlanSummary.of(rows[0]))


async def _refuse_used(call: Call[PlanPath, Nothing, HostRequest], row: PlanRow) -> None:
    """Refuse to confirm a plan that was carried out: the host is another one since, until it says the same anew."""
    plan = row.plan
    last = await last_install(call.tx, plan.agent_id, plan.digest, planned_at=plan.created_at)
    if last is None or last.state in _NOTHING_DONE:
        return
    if last.state in END_STATES:
        raise ProblemError(
            ProblemCode.PLAN_OUTDATED,
            f"this plan was carried out already: command {last.command_id} {last.state}; to change more, plan again",
            extra={"command_id": str(last.command_id)},
        )
    raise ProblemError(
        ProblemCode.NOTHING_TO_DO,
        f"this plan is being carried out already by command {last.command_id}; follow that one",
        extra={"command_id": str(last.command_id)},
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/plans", "plans_list", "List plans", list_, Page[PlanSummary], Nothing, PlansQuery, Nothing,
        "plans", problems=host_lookup.PROBLEMS,
    ),
    Route(
        "GET", "/plans/{digest}", "plans_show", "Show a plan", show, PlanDetail, PlanPath, PlanQuery, Nothing,
        "plans", problems=(*host_lookup.PROBLEMS, ProblemCode.PLAN_NOT_FOUND),
    ),
    Route(
        "POST", "/plans/{digest}/confirm", "plans_confirm", "Confirm all that a plan does", confirm,
        PlanSummary, PlanPath, Nothing, HostRequest, "plans", scope=Scope.WRITE, changes=True,
        problems=(
            *host_lookup.PROBLEMS, ProblemCode.PLAN_NOT_FOUND, ProblemCode.PLAN_OUTDATED,
            ProblemCode.NOTHING_TO_DO,
        ),
    ),
)  # fmt: skip
