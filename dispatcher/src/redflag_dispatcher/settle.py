"""Settles a batch of cancels in the signer's transaction, by the rules of ``cancelling``.

Guarantees: the target is changed under its own lock and its message's; a target another program holds at the moment is
left for the next look, because waiting here with agents locked could end in a deadlock; each change is an event.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dispatcher.cancelling import (
    CAUSE_CANCELLED,
    CAUSE_CANCELLING,
    CAUSE_SETTLED,
    CAUSE_TOO_LATE,
    CAUSE_UNREACHABLE,
    Settlement,
    Way,
    settle,
)
from redflag_dispatcher.command_moves import moves_of
from redflag_store.command_states import ServerState
from redflag_store.queries import cancel_settle
from redflag_store.queries.cancel_settle import EndRow
from redflag_store.queries.journal import MoveRow
from redflag_store.queries.signing import RequestedRow
from redflag_wire.report import Outcome

TOO_LATE = "too_late"
_CAUSES = {Way.SETTLED: CAUSE_SETTLED, Way.TOO_LATE: CAUSE_TOO_LATE, Way.UNREACHABLE: CAUSE_UNREACHABLE}


@dataclass(slots=True)
class Settled:
    """What became of a batch of cancels.

    Attributes:
        ways: cancel -> what becomes of it.
        gone: targets that ended here.
        moves: to be written.
    """

    ways: dict[UUID, Settlement] = field(default_factory=dict)
    gone: set[UUID] = field(default_factory=set)
    moves: list[MoveRow] = field(default_factory=list)

    def all_of(self, way: Way) -> list[UUID]:
        """Return the cancels that go this way."""
        return [cancel for cancel, one in self.ways.items() if one.way is way]


async def settle_cancels(
    session: AsyncSession,
    cancels: Mapping[UUID, tuple[RequestedRow, UUID]],
    *,
    active: Container[UUID],
    at: datetime,
    new_id: Callable[[], UUID],
) -> Settled:
    """Settle cancels whose mandate holds.

    Args:
        session: the signer's transaction, the agents locked.
        cancels: id of the cancel -> its row and the command it names.
        active: hosts that may be sent something.
        at: the server's time.
        new_id: makes UUIDv7 keys.
    """
    done = Settled()
    if not cancels:
        return done
    wanted = {target for _, target in cancels.values()}
    there = await cancel_settle.existing(session, wanted)
    targets, messages = await cancel_settle.lock_targets(session, wanted)
    ends: list[EndRow] = []
    for cancel, (row, target) in cancels.items():
        one = settle(
            row.agent_id,
            targets.get(target),
            messages.get(target),
            exists=target in there,
            active=row.agent_id in active,
        )
        done.ways[cancel] = one
        if one.target is not None and one.steps and target not in done.gone:
            ends.append(_end_of_target(target, one))
            done.moves.extend(
                moves_of(
                    target,
                    one.target,
                    one.steps,
                    CAUSE_CANCELLED if one.way is Way.SETTLED else CAUSE_CANCELLING,
                    at=at,
                    new_id=new_id,
                    detail={"cancel": str(cancel)},
                )
            )
        if one.way is Way.SETTLED:
            done.gone.add(target)
        ended = _end_of_cancel(cancel, one)
        if ended is not None:
            ends.append(ended)
            steps = (ServerState(ended.to_state),)
            done.moves.extend(
                moves_of(
                    cancel,
                    ServerState.REQUESTED,
                    steps,
                    _CAUSES[one.way],
                    at=at,
                    new_id=new_id,
                    detail={"command": str(target)},
                )
            )
    await cancel_settle.write_ends(session, ends, at)
    await cancel_settle.drop_messages(session, done.gone)
    return done


def _end_of_target(target: UUID, one: Settlement) -> EndRow:
    if one.target is None:
        raise RuntimeError("a target that is not there does not move")
    if one.way is Way.SETTLED:
        return EndRow(
            target, one.target.value, ServerState.CANCELLED.value, Outcome.CANCELLED.value, "cancelled"
        )
    return EndRow(target, one.target.value, ServerState.CANCELLING.value)


def _end_of_cancel(cancel: UUID, one: Settlement) -> EndRow | None:
    requested = ServerState.REQUESTED.value
    match one.way:
        case Way.SETTLED:
            return EndRow(cancel, requested, ServerState.SUCCEEDED.value, Outcome.SUCCEEDED.value)
        case Way.TOO_LATE:
            return EndRow(cancel, requested, ServerState.FAILED.value, Outcome.FAILED.value, TOO_LATE)
        case Way.UNREACHABLE:
            return EndRow(
                cancel, requested, ServerState.FAILED.value, Outcome.FAILED.value, CAUSE_UNREACHABLE
            )
        case _:
            return None
