"""What a signed report does to its command's state. Pure; the legal moves are ``redflag_store.command_states``.

A host's word may come before the server's own bookkeeping (the relay that saw the PubAck died) and reports may come
out of order, so a report moves a command along the whole way to what it says, each step one transition. A word
that is older than what is known moves nothing. End states never change, with one exception: an end the server
concluded from silence (``expired``, ``parked``, ``unknown`` with the code ``host_silent``) is provisional, and a signed
report of a start before ``exp`` replaces it once (ARCHITECTURE.md 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from redflag_store.command_states import (
    END_STATES,
    LATE_REPORT,
    IllegalMoveError,
    ServerState,
    can_move,
    is_provisional,
    route,
)
from redflag_wire.report import CommandState, Outcome

STATE_OF_OUTCOME: Mapping[Outcome, ServerState] = {
    Outcome.SUCCEEDED: ServerState.SUCCEEDED,
    Outcome.SUCCEEDED_PENDING_REBOOT: ServerState.SUCCEEDED,
    Outcome.PARTIAL: ServerState.FAILED,
    Outcome.FAILED: ServerState.FAILED,
    Outcome.PLAN_DRIFT: ServerState.FAILED,
    Outcome.EXPIRED: ServerState.EXPIRED,
    Outcome.CANCELLED: ServerState.CANCELLED,
    Outcome.REJECTED: ServerState.REJECTED,
    Outcome.UNKNOWN: ServerState.UNKNOWN,
}
"""The end state each result of the work means; the result itself is kept beside the state."""

CAUSE_REPORT = "report"


@dataclass(frozen=True, slots=True)
class Moves:
    """The transitions a report causes, in order; none when it says nothing new.

    Attributes:
        states: each state entered.
        result: the result of the work, when the last of them is an end.
        cause: the cause each transition is written with.
    """

    states: tuple[ServerState, ...] = ()
    result: Outcome | None = None
    cause: str = CAUSE_REPORT


NOTHING = Moves()


def decide(
    state: ServerState,
    exp: datetime | None,
    said: CommandState,
    result: Outcome | None,
    started: datetime | None,
    *,
    code: str | None = None,
) -> Moves:
    """Return what a report's word does to a command.

    Args:
        state: where the command is, read under its row's lock.
        exp: the command's end of life.
        said: how far the host says it is.
        result: the result it names with ``done``.
        started: when it says the work began, by its trusted time.
        code: of the command; tells the server's ``unknown`` from a host's.
    """
    if state is ServerState.REQUESTED:
        return NOTHING  # nobody signed it: no host can have it
    if said is CommandState.DONE:
        return NOTHING if result is None else _end(state, exp, result, started, code)
    goal = ServerState.DELIVERED if said is CommandState.RECEIVED else ServerState.RUNNING
    try:
        return Moves(route(state, goal))
    except IllegalMoveError:
        return NOTHING  # it is there already, further, being cancelled, or at its end


def _end(
    state: ServerState, exp: datetime | None, result: Outcome, started: datetime | None, code: str | None
) -> Moves:
    end = STATE_OF_OUTCOME[result]
    if state in END_STATES:
        in_time = exp is not None and started is not None and started <= exp
        if in_time and is_provisional(state, code) and can_move(state, end):
            return Moves((end,), result, LATE_REPORT)
        return NOTHING
    # The host's end is final even where the short way to it is not legal, for example a refusal after RECEIVED:
    # the command then ends as failed, and the result beside it keeps the host's own word.
    ways: list[tuple[ServerState, ...]] = [(end,), (ServerState.FAILED,)]
    if end is ServerState.CANCELLED:
        ways.insert(1, (ServerState.CANCELLING, end))
    for way in ways:
        try:
            return Moves(_along(state, way), result)
        except IllegalMoveError:
            continue
    return NOTHING


def _along(state: ServerState, way: tuple[ServerState, ...]) -> tuple[ServerState, ...]:
    passed: list[ServerState] = []
    for goal in way:
        passed.extend(route(passed[-1] if passed else state, goal))
    return tuple(passed)
