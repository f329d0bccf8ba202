from dataclasses import replace
from datetime import UTC, datetime

import pytest

from redflag_dispatcher.cancelling import Way, settle, untouched
from redflag_store.command_states import END_STATES, ServerState, can_move
from redflag_store.queries.cancel_settle import Message, Target
from redflag_wire.clock import ManualClock
from redflag_wire.ids import new_id

CLOCK = ManualClock(datetime(2026, 11, 21, 8, tzinfo=UTC))
AGENT, COMMAND = new_id(CLOCK), new_id(CLOCK)
FRESH = Message(COMMAND, n=1, attempts=0, claimed=False, published=False)


def target(state: str, **changes: object) -> Target:
    return replace(Target(COMMAND, AGENT, "scan", state, None), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["requested", "signed"])
def test_unpublished_target_ends_here(state: str) -> None:
    one = settle(AGENT, target(state), FRESH, exists=True)
    assert (one.way, one.steps) == (Way.SETTLED, (ServerState.CANCELLED,))


@pytest.mark.parametrize("changes", [{"n": 2}, {"attempts": 1}, {"claimed": True}, {"published": True}])
def test_message_anybody_touched_may_be_on_its_way(changes: dict[str, object]) -> None:
    message = replace(FRESH, **changes)  # type: ignore[arg-type]
    one = settle(AGENT, target("signed"), message, exists=True)
    assert (one.way, one.steps) == (Way.TRAVELS, (ServerState.QUEUED, ServerState.CANCELLING))


def test_missing_message_tells_nothing() -> None:
    assert not untouched(None)
    assert settle(AGENT, target("signed"), None, exists=True).way is Way.TRAVELS


@pytest.mark.parametrize("state", sorted(ServerState))
def test_every_state_has_a_way_of_legal_steps(state: ServerState) -> None:
    one = settle(AGENT, target(state), FRESH, exists=True)
    here = state
    for step in one.steps:
        assert can_move(here, step)
        here = step
    assert (one.way is Way.TOO_LATE) == (state in END_STATES)


def test_cancel_of_another_hosts_command_is_refused() -> None:
    assert settle(new_id(CLOCK), target("requested"), FRESH, exists=True).way is Way.REFUSED


def test_cancel_of_a_cancel_is_refused() -> None:
    assert settle(AGENT, target("requested", kind="cancel"), None, exists=True).way is Way.REFUSED


def test_target_another_program_holds_is_looked_at_again() -> None:
    assert settle(AGENT, None, None, exists=True).way is Way.LATER
    assert settle(AGENT, None, None, exists=False).way is Way.REFUSED


@pytest.mark.parametrize("state", ["queued", "running", "cancelling"])
def test_nothing_travels_to_a_host_that_is_not_active(state: str) -> None:
    one = settle(AGENT, target(state), None, exists=True, active=False)
    assert (one.way, one.steps) == (Way.UNREACHABLE, ())
    assert settle(AGENT, target("requested"), None, exists=True, active=False).way is Way.SETTLED
