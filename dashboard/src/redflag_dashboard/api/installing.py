"""From approved to installed: plans, installations, and rollbacks, each of exactly one plan."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.capabilities import managers, why_no_install
from redflag_dashboard.decision_rules import is_approved
from redflag_dashboard.install_rules import Refusal, judge, refs
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.updates import InstallRequest, PlanRequest, RollbackRequest
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_dashboard.rollback_rules import versions_to_return_to
from redflag_dashboard.selection import select
from redflag_store.queries import updates as queries
from redflag_store.queries.hosts import HostRow, lock_host
from redflag_store.queries.package_history import versions_before
from redflag_store.queries.plans import plans_of_digest
from redflag_store.queries.update_decisions import wait_for_command
from redflag_store.queries.updates import AT_REST, UpdateRow
from redflag_store.states import PackageUpdateState
from redflag_wire.command_params import (
    CommandKind,
    DryRunUpdateParams,
    InstallUpdatesParams,
    PlanMode,
    RollbackUpdateParams,
)
from redflag_wire.errors import WireError
from redflag_wire.intent import IntentVerb
from redflag_wire.limits import PACKAGES_MAX
from redflag_wire.plan import Plan


async def plan(call: Call[Nothing, Nothing, PlanRequest]) -> Answer:
    """Ask a host for the exact plan of updating some packages, all approved ones, or what it finds itself."""
    body = call.body
    host = await host_lookup.one_host(call.tx, body.host)
    rows = await queries.updates_of_host(call.tx, host.agent.id)
    mode = PlanMode(body.mode)
    if mode is not PlanMode.PACKAGES:
        manager = _one_manager(_managers_of(host, rows), body.manager)
        return await _ask_for_plan(call, host, manager, [], mode)
    if body.packages is not None:
        chosen = select(rows, body.packages)
    else:
        chosen = [row for row in rows if is_approved(row)]
        if not chosen:
            raise ProblemError(ProblemCode.NOTHING_TO_DO, _nothing_approved(host, rows))
    if body.manager is not None:
        chosen = [row for row in chosen if row.package.manager == body.manager]
        if not chosen:
            raise ProblemError(ProblemCode.NOTHING_TO_DO, f"none of the packages belongs to {body.manager}")
    manager = _one_manager(sorted({row.package.manager for row in chosen}), None)
    packages = [(row.package.name, row.package.arch, row.package.candidate or "") for row in chosen]
    return await _ask_for_plan(call, host, manager, packages, PlanMode.PACKAGES)


async def rollback(call: Call[Nothing, Nothing, RollbackRequest]) -> Answer:
    """Ask a host for the exact plan of bringing packages back to the version they had before."""
    body = call.body
    host = await host_lookup.one_host(call.tx, body.host)
    names = {one if isinstance(one, str) else one.name for one in body.packages}
    names |= {name.rpartition(":")[0] for name in names if ":" in name}
    history = await versions_before(call.tx, host.agent.id, names)
    manager, packages = versions_to_return_to(
        [row for row in history if body.manager in {None, row.manager}], body.packages, host.agent.hostname
    )
    return await _ask_for_plan(call, host, manager, packages, PlanMode.ROLLBACK)


def _managers_of(host: HostRow, rows: Sequence[UpdateRow]) -> list[str]:
    return managers(host.agent.capabilities) or sorted({row.package.manager for row in rows})


def _one_manager(found: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and (wanted in found or not found):
        return wanted
    if wanted is not None:
        raise ProblemError(
            ProblemCode.MANAGER_UNKNOWN,
            f"the host has no {wanted}; it has {', '.join(found)}",
            extra={"managers": found},
        )
    if not found:
        raise ProblemError(
            ProblemCode.NOTHING_TO_DO, "the host never said which package managers it has; scan it first"
        )
    if len(found) > 1:
        raise ProblemError(
            ProblemCode.MANAGER_AMBIGUOUS,
            f"name one as manager: {', '.join(found)}; a plan is of one package manager",
            extra={"managers": list(found)},
        )
    return found[0]


async def _ask_for_plan(
    call: commanding.AnyCall,
    host: HostRow,
    manager: str,
    packages: Sequence[tuple[str, str, str]],
    mode: PlanMode,
) -> Answer:
    if len(packages) > PACKAGES_MAX:
        raise ProblemError(ProblemCode.TOO_MANY_PACKAGES, f"a plan is of at most {PACKAGES_MAX} packages")
    params = DryRunUpdateParams(manager=manager, packages=refs(packages), mode=mode)
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.PLAN_UPDATES,
        kind=CommandKind.DRY_RUN_UPDATE,
        params=params,
    )
    waiting = [(one.name, one.arch) for one in params.packages]
    if mode is PlanMode.PACKAGES:
        state = PackageUpdateState.CHECKING_DEPENDENCIES
        await _wait(call, host, manager, waiting, command_id, state=state)
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
    updates = await queries.updates_of_host(call.tx, agent, {one.name for one in exact.request}, at_rest=True)
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
    rollback = exact.mode is PlanMode.ROLLBACK
    command_id = await commanding.ask(
        call,
        agent=agent,
        verb=IntentVerb.ROLLBACK_UPDATES if rollback else IntentVerb.INSTALL_UPDATES,
        kind=CommandKind.ROLLBACK_UPDATE if rollback else CommandKind.INSTALL_UPDATES,
        params=_params(exact, body.plan_digest),
    )
    # In the modes that name no package, what waits is what the plan changes.
    waiting = [(one.name, one.arch) for one in exact.request or exact.items]
    await _wait(call, host, exact.manager, waiting, command_id, state=PackageUpdateState.INSTALLING)
    return await commanding.accepted(call, command_id)


_why: Final = {
    Refusal.PLAN_OUTDATED: "a later plan of this host exists; look at that one, or plan again",
    Refusal.NOT_APPROVED: "approve the packages in `missing` at the versions planned, or plan again",
    Refusal.CONFIRMATION_REQUIRED: "the plan does more than was asked for; look at `missing`, then confirm the plan",
}


def _params(exact: Plan, digest: str) -> InstallUpdatesParams | RollbackUpdateParams:
    if exact.mode is PlanMode.ROLLBACK:
        return RollbackUpdateParams(manager=exact.manager, packages=exact.request, plan_digest=digest)
    return InstallUpdatesParams(
        manager=exact.manager, packages=exact.request, mode=exact.mode, plan_digest=digest
    )


async def _wait(
    call: commanding.AnyCall,
    host: HostRow,
    manager: str,
    packages: Sequence[tuple[str, str]],
    command_id: UUID,
    *,
    state: PackageUpdateState,
) -> None:
    await wait_for_command(
        call.tx,
        host.agent.id,
        [(manager, name, arch) for name, arch in packages],
        command_id,
        state=state,
        at=call.parts.clock.now(),
    )


_PLAN_PROBLEMS: Final = (
    *host_lookup.PROBLEMS,
    *commanding.PROBLEMS,
    ProblemCode.UPDATE_NOT_FOUND,
    ProblemCode.PACKAGE_AMBIGUOUS,
    ProblemCode.MANAGER_AMBIGUOUS,
    ProblemCode.MANAGER_UNKNOWN,
    ProblemCode.NOTHING_TO_DO,
)

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/updates/plan", "updates_plan", "Make the exact plan of some updates", plan, Command, Nothing,
        Nothing, PlanRequest, "updates", status=202, scope=Scope.WRITE, changes=True, problems=_PLAN_PROBLEMS,
    ),
    Route(
        "POST", "/updates/rollback", "updates_rollback", "Make the exact plan of going back to older versions",
        rollback, Command, Nothing, Nothing, RollbackRequest, "updates", status=202, scope=Scope.WRITE,
        changes=True, problems=_PLAN_PROBLEMS,
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
