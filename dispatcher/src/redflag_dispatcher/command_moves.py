"""Turns a way through the states into the rows that record it: one ``command_event`` per step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from redflag_store.command_states import ServerState, letter_of
from redflag_store.queries.journal import MoveRow


def moves_of(
    command: UUID,
    start: ServerState,
    steps: Sequence[ServerState],
    cause: str,
    *,
    at: datetime,
    new_id: Callable[[], UUID],
    agent_at: datetime | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Iterator[MoveRow]:
    """Yield the rows of a way through the states; steps before the last are marked as implied.

    Raises:
        redflag_store.command_states.IllegalMoveError: a step is not legal.
    """
    here = start
    for number, step in enumerate(steps, start=1):
        last = number == len(steps)
        letter = {"letter": letter_of(here, step)}
        yield MoveRow(
            id=new_id(),
            command_id=command,
            at=at,
            from_state=here.value,
            to_state=step.value,
            cause=cause,
            agent_at=agent_at if last else None,
            detail={**(detail or {}), **letter} if last else {**letter, "implied": True},
        )
        here = step
