"""Available updates: listing, approving, planning, installing."""

from typing import Final
from uuid import UUID

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.capabilities import why_no_install
from redflag_dashboard.install_rules import Refusal, judge, refs
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.updates import (
    ApproveAnswer,
    ApproveRequest,
    InstallRequest,
    PlanRequest,
    Update,
    UpdateCounts,
    UpdatesPage,
    UpdatesQuery,
)
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_dashboard.selection import select
from redflag_store.queries import updates as queries
from redflag_store.queries.hosts import HostRow, lock_host
from redflag_store.queries.plans import plans_of_digest
from redflag_store.queries.updates import AT_REST, UpdateFilter, UpdateRow
from redflag_store.states import PackageUpdateState
from redflag_wire.command_params import CommandKind, DryRunUpdateParams, InstallUpdatesParams
from redflag_wire.errors import WireError
from redflag_wire.intent import IntentVerb
from redflag_wire.limits import PACKAGES_MAX
from redflag_wire.plan import Plan

APPROVED_PER_INTENT: Final = 1000  # packages named in one signed intent, so that it fits its envelope


async def list_(call: Call[Nothing, UpdatesQuery, Nothing]) -> Answer:
    """List updates by package."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.UPDATE_KEY)
    async with call.parts.sessions() as session:
        wanted = UpdateFilter(
            agent_id=await host_lookup.host_id(session, query.host),
            state=query.state,
            security=query.security,
            name=query.name,
        )
        page = await queries.list_updates(session, wanted, after=after, limit=query.limit)
        counts = await queries.count_updates(session, wanted)
    last = page.rows[-1].package if page.more else None
    return Answer(
        UpdatesPage(
            items=[Update.of(row) for row in page.rows],
            next=None if last is None else cursor.encode((last.name, last.manager, last.arch, last.agent_id)),
            total=page.total,
            counts=UpdateCounts(
                by_state=dict(counts.by_state),
                security=counts.security,
                held_back=counts.held_back,
                hosts=counts.hosts,
            ),
        )
    )


async def approve(call: Call[Nothing, Nothing, ApproveRequest]) -> Answer:
    """Approve updates of one host at their present candidates."""
    body = call.body
    host = await host_lookup.one_host(call.tx, body.host)
    agent = host.agent.id
    # Ingest takes the same lock before it changes candidates, so what is approved is what is there.
    await lock_host(call.tx, agent)
    rows = await queries.updates_of_host(call.tx, agent)
    if body.packages is not None:
        chosen = select(rows, body.packages)
    else:
        chosen = [row for row in rows if row.state not in AT_REST and (body.all or row.package.security)]
    # One whose installation failed is approved anew: somebody looked at it and wants it again.
    new = [
        row
        for row in chosen
        if row.package.candidate is not None
        and (row.state == PackageUpdateState.FAILED or not _is_approved(row))
    ]
    intent_ids = []
    for start in range(0, len(new), APPROVED_PER_INTENT):
        batch = [row.package for row in new[start : start + APPROVED_PER_INTENT]]
        named = [
            {"manager": one.manager, "name": one.name, "arch": one.arch, "version": one.candidate}
            for one in batch
        ]
        intent = commanding.intent_of(call, IntentVerb.APPROVE_UPDATES, [agent], {"packages": named})
        await commanding.store(call, intent)
        await queries.approve(
            call.tx,
            call.parts.clock,
            batch,
            operator=call.operator,
            intent_id=intent.id,
            random=call.parts.random,
        )
        intent_ids.append(intent.id)
    keys = {(row.package.manager, row.package.name, row.package.arch) for row in new}
    after = await queries.updates_of_host(call.tx, agent, {row.package.name for row in new}) if new else []
    return Answer(
        ApproveAnswer(
            host_id=agent,
            hostname=host.agent.hostname,
            approved=[
                Update.of(row)
                for row in after
                if (row.package.manager, row.package.name, row.package.arch) in keys
            ],
            already_approved=len(chosen) - len(new),
            intent_ids=intent_ids,
        )
    )


def _is_approved(row: UpdateRow) -> bool:
    package = row.package
    return (
        package.approved_version is not None
        and package.approved_version == package.candidate
        and package.state not in AT_REST
    )


async def plan(call: Call[Nothing, Nothing, PlanRequest]) -> Answer:
    """Ask a host for the exact plan of updating some packages, or all approved ones."""
    body = call.body
    host = await host_lookup.one_host(call.tx, body.host)
    rows = await queries.updates_of_host(call.tx, host.agent.id)
    if body.packages is not None:
        chosen = select(rows, body.packages)
    else:
        chosen = [row for row in rows if _is_approved(row)]
        if not chosen:
            raise ProblemError(ProblemCode.NOTHING_TO_DO, _nothing_approved(host, rows))
    if body.manager is not None:
        chosen = [row for row in chosen if row.package.manager == body.manager]
        if not chosen:
            raise ProblemError(ProblemCode.NOTHING_TO_DO, f"none of the packages belongs to {body.manager}")
    managers = sorted({row.package.manager for row in chosen})
    if len(managers) > 1:
        raise ProblemError(
            ProblemCode.MANAGER_AMBIGUOUS,
            f"name one as manager: {', '.join(managers)}; a plan is of one package manager",
            extra={"managers": managers},
        )
    if len(chosen) > PACKAGES_MAX:
        raise ProblemError(ProblemCode.TOO_MANY_PACKAGES, f"a plan is of at most {PACKAGES_MAX} packages")
    params = DryRunUpdateParams(
        manager=managers[0],
        packages=refs([(row.package.name, row.package.arch, row.package.candidate or "") for row in chosen]),
    )
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.PLAN_UPDATES,
        kind=CommandKind.DRY_RUN_UPDATE,
        params=params,
        dedupe_key=f"plan:{params.manager}",
    )
    await _wait(call, host, params, command_id, PackageUpdateState.CHECKING_DEPENDENCIES)
    return await commanding.accepted(call, command_id)


def _nothing_approved(host: HostRow, rows: list[UpdateRow]) -> str:
    waiting = sum(row.state == PackageUpdateState.PENDING for row in rows)
    return f"no update of {host.agent.hostname} is approved; {waiting} wait for an approval"


async def install(call: Call[Nothing, Nothing, InstallRequest]) -> Answer:
    """Carry out exactly one plan."""
    body = call.body
    host = await host_lookup.one_host(call.tx, body.host)
    agent = host.agent.id
    # Under this lock no candidate changes, so no approval lapses between the look and the commit.
    await lock_host(call.tx, agent)
    found = await plans_of_digest(call.tx, body.plan_digest, agent_id=agent)
    if not found:
        raise ProblemError(
            ProblemCode.PLAN_NOT_FOUND, f"{host.agent.hostname} has no plan {body.plan_digest}"
        )
    row = found[0]
    try:
        exact = Plan.from_bytes(bytes(row.plan.plan))
    except WireError as error:
        raise ProblemError(
            ProblemCode.PLAN_OUTDATED, f"the stored plan cannot be read ({error.code}); plan again"
        ) from None
    reason = why_no_install(host.agent.capabilities, exact.manager)
    if reason is not None:
        raise ProblemError(
            ProblemCode.HOST_CANNOT_INSTALL,
            f"{host.agent.hostname} only looks for updates of {exact.manager}: {reason}; "
            "to install, run its agent as root with installing allowed",
            extra={"manager": exact.manager, "reason": reason},
        )
    if not exact.items:
        raise ProblemError(
            ProblemCode.NOTHING_TO_DO, "the plan changes nothing: the packages are held back or already there"
        )
    updates = await queries.updates_of_host(call.tx, agent, {one.name for one in exact.request})
    approved = {
        (one.package.name, one.package.arch): one.package.approved_version
        for one in updates
        if one.package.manager == exact.manager and one.package.state not in AT_REST
    }
    verdict = judge(exact, newest=row.newest, confirmed=row.confirmed_at is not None, approved=approved)
    if verdict.refusal is not None:
        raise ProblemError(
            ProblemCode(verdict.refusal.value),
            _why[verdict.refusal],
            extra={"missing": verdict.missing[:PACKAGES_MAX], "plan_digest": body.plan_digest},
        )
    params = InstallUpdatesParams(manager=exact.manager, packages=exact.request, plan_digest=body.plan_digest)
    command_id = await commanding.ask(
        call,
        agent=agent,
        verb=IntentVerb.INSTALL_UPDATES,
        kind=CommandKind.INSTALL_UPDATES,
        params=params,
        dedupe_key="install",
    )
    await _wait(call, host, params, command_id, PackageUpdateState.INSTALLING)
    return await commanding.accepted(call, command_id)


_why: Final = {
    Refusal.PLAN_OUTDATED: "a later plan of this host exists; look at that one, or plan again",
    Refusal.NOT_APPROVED: "approve the packages in `missing` at the versions planned, or plan again",
    Refusal.CONFIRMATION_REQUIRED: "the plan does more than was asked for; look at `missing`, then confirm the plan",
}


async def _wait(
    call: commanding.AnyCall,
    host: HostRow,
    params: DryRunUpdateParams | InstallUpdatesParams,
    command_id: UUID,
    state: PackageUpdateState,
) -> None:
    await queries.wait_for_command(
        call.tx,
        host.agent.id,
        [(params.manager, one.name, one.arch) for one in params.packages],
        command_id,
        state=state,
        at=call.parts.clock.now(),
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/updates", "updates_list", "List updates, with counts of all", list_, UpdatesPage, Nothing,
        UpdatesQuery, Nothing, "updates", problems=host_lookup.PROBLEMS,
    ),
    Route(
        "POST", "/updates/approve", "updates_approve", "Approve updates of a host", approve, ApproveAnswer,
        Nothing, Nothing, ApproveRequest, "updates", scope=Scope.WRITE, changes=True,
        problems=(
            *host_lookup.PROBLEMS, ProblemCode.UPDATE_NOT_FOUND, ProblemCode.PACKAGE_AMBIGUOUS,
            ProblemCode.TOO_MANY_PACKAGES,
        ),
    ),
    Route(
        "POST", "/updates/plan", "updates_plan", "Make the exact plan of some updates", plan, Command, Nothing,
        Nothing, PlanRequest, "updates", status=202, scope=Scope.WRITE, changes=True,
        problems=(
            *host_lookup.PROBLEMS, *commanding.PROBLEMS, ProblemCode.UPDATE_NOT_FOUND,
            ProblemCode.PACKAGE_AMBIGUOUS, ProblemCode.MANAGER_AMBIGUOUS, ProblemCode.NOTHING_TO_DO,
        ),
    ),
    Route(
        "POST", "/updates/install", "updates_install", "Carry out exactly one plan", install, Command, Nothing,
        Nothing, InstallRequest, "updates", status=202, scope=Scope.WRITE, changes=True,
        problems=(
            *host_lookup.PROBLEMS, *commanding.PROBLEMS, ProblemCode.PLAN_NOT_FOUND,
            ProblemCode.PLAN_OUTDATED, ProblemCode.NOTHING_TO_DO, ProblemCode.NOT_APPROVED,
            ProblemCode.CONFIRMATION_REQUIRED, ProblemCode.HOST_CANNOT_INSTALL,
        ),
    ),
)  # fmt: skip
