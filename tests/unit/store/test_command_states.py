from itertools import product

import pytest

from redflag_store.command_states import (
    END_STATES,
    HOST_SILENT,
    PROVISIONAL,
    TRANSITIONS,
    IllegalMoveError,
    ServerState,
    can_move,
    is_provisional,
    letter_of,
    route,
)

# Written out by hand from the state diagram: rows lead to columns.
LEGAL = {
    "requested": "signed cancelled expired succeeded failed",
    "signed": "queued cancelled expired",
    "queued": "delivered cancelling expired rejected parked",
    "delivered": "running cancelling expired",
    "running": "succeeded failed unknown cancelling",
    "cancelling": "succeeded failed cancelled expired rejected parked unknown",
    "expired": "succeeded failed cancelled unknown",
    "succeeded": "",
    "failed": "",
    "cancelled": "",
    "rejected": "",
    "parked": "succeeded failed cancelled unknown",
    "unknown": "succeeded failed cancelled",
}


@pytest.mark.parametrize(("start", "end"), list(product(ServerState, ServerState)))
def test_move_is_legal_exactly_as_drawn(start: ServerState, end: ServerState) -> None:
    assert can_move(start, end) == (end in LEGAL[start].split())


def test_every_state_is_drawn() -> None:
    assert set(LEGAL) == set(ServerState)


def test_every_transition_has_one_letter() -> None:
    moves = [move for letter in TRANSITIONS.values() for move in letter]
    assert len(moves) == len(set(moves))
    assert letter_of(ServerState.REQUESTED, ServerState.SIGNED) == "a"
    assert letter_of(ServerState.EXPIRED, ServerState.SUCCEEDED) == "l"


def test_end_states_are_final_but_for_the_provisional_ones() -> None:
    for state in END_STATES - PROVISIONAL:
        assert not any(can_move(state, other) for other in ServerState)
    for state in PROVISIONAL:
        assert all(other in END_STATES for other in ServerState if can_move(state, other))


def test_only_what_the_server_concluded_from_silence_is_provisional() -> None:
    assert {state for state in ServerState if is_provisional(state, None)} == {"expired", "parked"}
    assert is_provisional(ServerState.UNKNOWN, HOST_SILENT)
    assert not is_provisional(ServerState.UNKNOWN, "probe_cannot_tell")


def test_replacing_a_provisional_end_happens_once() -> None:
    # The host's own word never carries the server's code, so what replaced an end is not provisional itself.
    ways = [other for state in PROVISIONAL for other in ServerState if can_move(state, other)]
    assert not any(is_provisional(other, None) for other in ways)


def test_every_state_reaches_an_end() -> None:
    reaching = set(END_STATES)
    while grown := {s for s in ServerState if s not in reaching and any(can_move(s, r) for r in reaching)}:
        reaching |= grown
    assert reaching == set(ServerState)


@pytest.mark.parametrize(
    ("start", "end", "passed"),
    [
        ("queued", "delivered", "delivered"),
        ("signed", "delivered", "queued delivered"),
        ("signed", "succeeded", "queued delivered running succeeded"),
        ("queued", "failed", "delivered running failed"),
        ("signed", "rejected", "queued rejected"),
        ("cancelling", "succeeded", "succeeded"),
        ("expired", "failed", "failed"),
    ],
)
def test_route_passes_what_the_word_implies(start: str, end: str, passed: str) -> None:
    assert route(ServerState(start), ServerState(end)) == tuple(passed.split())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("requested", "delivered"),
        ("succeeded", "failed"),
        ("running", "delivered"),
        ("delivered", "rejected"),
    ],
)
def test_route_refuses_what_no_word_implies(start: str, end: str) -> None:
    with pytest.raises(IllegalMoveError) as caught:
        route(ServerState(start), ServerState(end))
    assert (caught.value.from_state, caught.value.to_state) == (start, end)
