"""Asking for an ended command once more: the same request, with all the checks of a first one.

Nothing is taken over unseen: a plan must still be the newest and approved, a package still the candidate, the host
active; what does not hold any more is refused as it would be for a new request.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from redflag_dashboard.api import commanding, host_actions, host_lookup, hosts, installing
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.common import CommandPath, HostPath
from redflag_dashboard.models.host_actions import RebootRequest
from redflag_dashboard.models.hosts import ScanRequest
from redflag_dashboard.models.updates import InstallRequest, PlanRequest, RollbackRequest
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope, Strict
from redflag_store.queries.refusals import (
    CommandRefusedError,
    NoSuchCommandError,
    NotEndedError,
    NotForKindError,
)
from redflag_store.queries.retries import RetrySource, retry_of
from redflag_wire.command_params import CommandKind, PlanMode, parse_params
from redflag_wire.intent import IntentVerb

_Handler = Callable[[Call[Any, Any, Any]], Awaitable[Answer]]

_SWITCHES: Final[Mapping[CommandKind, IntentVerb]] = {
    CommandKind.ENABLE_HEARTBEAT: IntentVerb.ENABLE_HEARTBEAT,
    CommandKind.DISABLE_HEARTBEAT: IntentVerb.DISABLE_HEARTBEAT,
}
"""Kinds whose request is their parameters and nothing else."""


async def retry(call: Call[CommandPath, Nothing, Nothing]) -> Answer:
    """Ask for an ended command once more; the answer is the new command."""
    command_id = call.path.command
    try:
        source = await retry_of(call.tx, command_id)
    except NoSuchCommandError:
        raise ProblemError(ProblemCode.COMMAND_NOT_FOUND, f"there is no command {command_id}") from None
    except NotForKindError:
        raise ProblemError(
            ProblemCode.NOT_RETRYABLE, f"command {command_id} is a cancel; cancel its command again instead"
        ) from None
    except NotEndedError as error:
        raise await commanding.in_the_way(
            call,
            ProblemCode.NOT_ENDED,
            f"command {command_id} is {error.state}; it can be retried when it has ended",
            command_id,
        ) from None
    except CommandRefusedError as error:
        raise await commanding.problem_of(call, error) from None
    again: commanding.AnyCall = replace(call, retry_of=command_id)
    kind = CommandKind(source.kind)
    if kind in _SWITCHES:
        return await _switch(again, source, kind)
    handler, path, body = _request_of(source, kind, command_id)
    return await handler(replace(again, path=path, body=body))


async def _switch(call: commanding.AnyCall, source: RetrySource, kind: CommandKind) -> Answer:
    command_id = await commanding.ask(
        call,
        agent=source.agent_id,
        verb=_SWITCHES[kind],
        kind=kind,
        params=parse_params(kind, source.params),
    )
    return await commanding.accepted(call, command_id)


def _request_of(source: RetrySource, kind: CommandKind, command_id: UUID) -> tuple[_Handler, Strict, Strict]:
    """The handler of a first request for this, its path and its body."""
    host, params = str(source.agent_id), source.params
    path = HostPath(host=host)
    match kind:
        case CommandKind.SCAN:
            return hosts.scan, path, ScanRequest.model_validate(params)
        case CommandKind.COLLECT_SPECS:
            return host_actions.collect_specs, path, Nothing()
        case CommandKind.REBOOT:
            return host_actions.reboot, path, RebootRequest.model_validate(params)
        case CommandKind.DRY_RUN_UPDATE:
            body = {"host": host, "manager": params["manager"], "packages": params["packages"] or None}
            mode = params.get("mode", PlanMode.PACKAGES)
            if mode == PlanMode.ROLLBACK:
                return installing.rollback, Nothing(), RollbackRequest.model_validate(body)
            return installing.plan, Nothing(), PlanRequest.model_validate({**body, "mode": mode})
        case CommandKind.INSTALL_UPDATES | CommandKind.ROLLBACK_UPDATE:
            wanted = {"host": host, "plan_digest": params["plan_digest"]}
            return installing.install, Nothing(), InstallRequest.model_validate(wanted)
        case _:
            raise ProblemError(
                ProblemCode.NOT_RETRYABLE, f"command {command_id} is of kind {kind}; ask for it anew instead"
            )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/commands/{command}/retry", "commands_retry", "Ask for an ended command once more", retry,
        Command, CommandPath, Nothing, Nothing, "commands", status=202, scope=Scope.WRITE, changes=True,
        problems=(
            ProblemCode.COMMAND_NOT_FOUND, ProblemCode.NOT_RETRYABLE, ProblemCode.NOT_ENDED,
            ProblemCode.ALREADY_RETRIED, ProblemCode.RETRY_TOO_DEEP, *host_lookup.PROBLEMS,
            *commanding.PROBLEMS, ProblemCode.MANAGER_UNKNOWN, ProblemCode.UPDATE_NOT_FOUND,
            ProblemCode.PACKAGE_AMBIGUOUS, ProblemCode.MANAGER_AMBIGUOUS, ProblemCode.NOTHING_TO_DO,
            ProblemCode.PLAN_NOT_FOUND, ProblemCode.PLAN_OUTDATED, ProblemCode.NOT_APPROVED,
            ProblemCode.CONFIRMATION_REQUIRED, ProblemCode.HOST_CANNOT_INSTALL,
        ),
    ),
)  # fmt: skip
