"""What becomes of a cancel and of the command it names, decided under the target's lock. Pure.

Before its first publish a command is the server's alone: it ends here, and the cancel with it, without the host ever
hearing of either. Once a relay has touched its message it may be on its way, whatever the outbox says: a claim that
was never marked, an attempt without an answer. Then only the host can say what became of it, and the cancel travels.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from redflag_store.command_states import END_STATES, ServerState, route
from redflag_store.queries.cancel_settle import Message, Target
from redflag_wire.command_params import CommandKind

CAUSE_CANCELLED = "cancelled_before_publish"
CAUSE_CANCELLING = "cancel_requested"
CAUSE_SETTLED = "settled_by_server"
CAUSE_TOO_LATE = "target_ended"
CAUSE_UNREACHABLE = "agent_not_active"


class Way(StrEnum):
    """What happens to a cancel."""

    SETTLED = "settled"
    TOO_LATE = "too_late"
    UNREACHABLE = "unreachable"
    TRAVELS = "travels"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to do.

    Attributes:
        way: of the cancel.
        target: the state of the command it names, as locked; None where it has no part in this.
        steps: the states that command passes now, in order; none when it stays.
        why: for people, where the cancel is refused.
    """

    way: Way
    target: ServerState | None = None
    steps: tuple[ServerState, ...] = ()
    why: str = ""


def settle(
    agent: UUID, target: Target | None, message: Message | None, *, exists: bool, active: bool = True
) -> Settlement:
    """Return what becomes of a cancel.

    Args:
        agent: of the cancel.
        target: the command it names, locked; None when there is none or another dispatcher holds it.
        message: the target's row in the outbox, locked; None when it has none.
        exists: whether there is such a command at all.
        active: whether the host may be sent anything.
    """
    if target is None:
        if exists:
            return Settlement(Way.LATER)
        return Settlement(Way.REFUSED, why="there is no such command")
    if target.agent_id != agent:
        return Settlement(Way.REFUSED, why="the command is another host's")
    if target.kind == CommandKind.CANCEL:
        return Settlement(Way.REFUSED, why="a cancel is not cancelled")
    state = ServerState(target.state)
    if state in END_STATES:
        return Settlement(Way.TOO_LATE, state)
    if state is ServerState.REQUESTED or (state is ServerState.SIGNED and untouched(message)):
        return Settlement(Way.SETTLED, state, (ServerState.CANCELLED,))
    if not active:
        return Settlement(Way.UNREACHABLE, state)
    if state is ServerState.CANCELLING:
        return Settlement(Way.TRAVELS, state)
    return Settlement(Way.TRAVELS, state, route(state, ServerState.CANCELLING))


def untouched(message: Message | None) -> bool:
    """Whether no relay ever took this message; without a row, nobody can tell."""
    return (
        message is not None
        and message.n == 1
        and message.attempts == 0
        and not message.claimed
        and not message.published
    )
