from datetime import timedelta

import pytest

from redflag_dispatcher.apply_report import NOTHING, STATE_OF_OUTCOME, decide
from redflag_store.command_states import (
    END_STATES,
    HOST_SILENT,
    PROVISIONAL,
    IllegalMoveError,
    ServerState,
    letter_of,
)
from redflag_wire.report import CommandState, Outcome
from tests.unit.dispatcher.signers import NOW

S = ServerState
EXP = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "said", "steps"),
    [
        (S.QUEUED, CommandState.RECEIVED, (S.DELIVERED,)),
        (S.SIGNED, CommandState.RECEIVED, (S.QUEUED, S.DELIVERED)),
        (S.DELIVERED, CommandState.STARTED, (S.RUNNING,)),
        (S.QUEUED, CommandState.STARTED, (S.DELIVERED, S.RUNNING)),
        (S.RUNNING, CommandState.RECEIVED, ()),
        (S.DELIVERED, CommandState.RECEIVED, ()),
        (S.CANCELLING, CommandState.STARTED, ()),
        (S.SUCCEEDED, CommandState.STARTED, ()),
        (S.EXPIRED, CommandState.RECEIVED, ()),
        (S.REQUESTED, CommandState.RECEIVED, ()),
    ],
)
def test_word_on_the_way_moves_forward_only(
    state: ServerState, said: CommandState, steps: tuple[ServerState, ...]
) -> None:
    assert decide(state, EXP, said, None, NOW).states == steps


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("state", [S.SIGNED, S.QUEUED, S.DELIVERED, S.RUNNING, S.CANCELLING])
def test_every_end_is_reached_by_legal_moves(state: ServerState, outcome: Outcome) -> None:
    moves = decide(state, EXP, CommandState.DONE, outcome, NOW)
    assert moves.states, "a host's end is never lost"
    assert moves.states[-1] in END_STATES
    assert moves.result is outcome
    here = state
    for step in moves.states:
        letter_of(here, step)
        here = step


@pytest.mark.parametrize("outcome", list(Outcome))
def test_running_command_ends_as_its_outcome_says(outcome: Outcome) -> None:
    expected = STATE_OF_OUTCOME[outcome]
    moves = decide(S.RUNNING, EXP, CommandState.DONE, outcome, NOW)
    try:
        letter_of(S.RUNNING, expected)
    except IllegalMoveError:
        expected = S.CANCELLED if outcome is Outcome.CANCELLED else S.FAILED
    assert moves.states[-1] is expected


def test_refusal_leaves_from_queued() -> None:
    assert decide(S.QUEUED, EXP, CommandState.DONE, Outcome.REJECTED, None).states == (S.REJECTED,)
    assert decide(S.SIGNED, EXP, CommandState.DONE, Outcome.REJECTED, None).states == (S.QUEUED, S.REJECTED)


@pytest.mark.parametrize("state", sorted(END_STATES - PROVISIONAL))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_end_states_never_change(state: ServerState, outcome: Outcome) -> None:
    assert decide(state, EXP, CommandState.DONE, outcome, NOW) == NOTHING


def test_late_report_of_a_start_in_time_replaces_an_expiry() -> None:
    moves = decide(S.EXPIRED, EXP, CommandState.DONE, Outcome.SUCCEEDED, EXP)
    assert (moves.states, moves.cause) == ((S.SUCCEEDED,), "late_report")


@pytest.mark.parametrize("started", [None, EXP + timedelta(seconds=1)])
def test_late_report_of_no_start_in_time_changes_nothing(started: object) -> None:
    assert decide(S.EXPIRED, EXP, CommandState.DONE, Outcome.SUCCEEDED, started) == NOTHING  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "code"), [(S.EXPIRED, "expired"), (S.PARKED, "parked"), (S.UNKNOWN, HOST_SILENT)]
)
def test_late_report_replaces_what_the_server_concluded_from_silence(state: ServerState, code: str) -> None:
    moves = decide(state, EXP, CommandState.DONE, Outcome.SUCCEEDED, NOW, code=code)
    assert (moves.states, moves.cause) == ((S.SUCCEEDED,), "late_report")


@pytest.mark.parametrize("code", [None, "probe_cannot_tell"])
def test_unknown_by_a_hosts_own_word_is_final(code: str | None) -> None:
    assert decide(S.UNKNOWN, EXP, CommandState.DONE, Outcome.SUCCEEDED, NOW, code=code) == NOTHING


def test_late_report_of_an_expiry_changes_nothing() -> None:
    assert decide(S.EXPIRED, EXP, CommandState.DONE, Outcome.EXPIRED, NOW) == NOTHING
