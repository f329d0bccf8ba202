"""Cancelling a command: before it is sent the server does it alone, after that the host is asked to."""

from redflag_dashboard.api import commanding
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.common import CommandPath
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_dashboard.sentences import ended_as
from redflag_store.queries.cancel import request_cancel
from redflag_store.queries.commands import get_command
from redflag_store.queries.refusals import AlreadyPendingError, CommandEndedError, NotForKindError
from redflag_wire.intent import IntentVerb


async def cancel(call: Call[CommandPath, Nothing, Nothing]) -> Answer:
    """Ask that a command be cancelled; the answer is the command that does it."""
    target = call.path.command
    row = await get_command(call.tx, target)
    if row is None:
        raise ProblemError(ProblemCode.COMMAND_NOT_FOUND, f"there is no command {target}")
    intent = commanding.intent_of(
        call, IntentVerb.CANCEL_COMMAND, [row.command.agent_id], {"cmd": str(target)}
    )
    try:
        cancel_id = await request_cancel(
            call.tx,
            call.parts.clock,
            command_id=target,
            intent=intent,
            requested_by=call.operator,
            op=call.op,
            random=call.parts.random,
        )
    except CommandEndedError as error:
        raise await commanding.in_the_way(
            call,
            ProblemCode.COMMAND_ENDED,
            f"command {target} {ended_as(error.state)}; nothing is left to cancel",
            target,
        ) from None
    except NotForKindError:
        raise ProblemError(
            ProblemCode.NOT_CANCELLABLE, f"command {target} is itself a cancel; ask for the work anew instead"
        ) from None
    except AlreadyPendingError as error:
        raise await commanding.in_the_way(
            call,
            ProblemCode.ALREADY_PENDING,
            f"command {error.command_id} cancels it already; follow that one",
            error.command_id,
        ) from None
    return await commanding.accepted(call, cancel_id)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/commands/{command}/cancel", "commands_cancel", "Cancel a command", cancel, Command,
        CommandPath, Nothing, Nothing, "commands", status=202, scope=Scope.WRITE, changes=True,
        problems=(
            ProblemCode.COMMAND_NOT_FOUND, ProblemCode.COMMAND_ENDED, ProblemCode.NOT_CANCELLABLE,
            ProblemCode.ALREADY_PENDING,
        ),
    ),
)  # fmt: skip
