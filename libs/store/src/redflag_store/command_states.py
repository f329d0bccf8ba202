"""The states of a command on the server and every legal move between them; pure, no I/O.

Guarantees (ARCHITECTURE.md section 4 as kept in ARCHITECTURE.md):

- `can_move` is true exactly for the lettered transitions of `TRANSITIONS`, nothing else.
- An end state has no way out, except a provisional one: an end the server concluded from a host's silence
  (`expired`, `parked`, and `unknown` with the code `host_silent`). A late signed report of work that started before
  the expiry replaces it by the host's own end, so it happens at most once (letter l).
- `route` spells out the states a host's word implies (a report of finished work proves publication, delivery
  and start), so that each of them gets its own row in `command_event`.

The names differ from the wire's `CommandState`, which is what a *host* says about a command.
"""

from enum import StrEnum
from typing import Final

from redflag_store.errors import StoreError


class ServerState(StrEnum):
    """Where a command stands, as the server knows it.

    When you add one: extend `TRANSITIONS`, `END_STATES` when nothing follows it, and write a migration for the
    check constraint and the partial indexes of table `command`.
    """

    REQUESTED = "requested"
    SIGNED = "signed"
    QUEUED = "queued"
    DELIVERED = "delivered"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    PARKED = "parked"
    UNKNOWN = "unknown"


END_STATES: Final = frozenset(
    {
        ServerState.SUCCEEDED,
        ServerState.FAILED,
        ServerState.CANCELLED,
        ServerState.EXPIRED,
        ServerState.REJECTED,
        ServerState.PARKED,
        ServerState.UNKNOWN,
    }
)
"""States in which the server awaits nothing more; they do not count against the pending limit."""

PROVISIONAL: Final = frozenset({ServerState.EXPIRED, ServerState.PARKED, ServerState.UNKNOWN})
"""End states that a late report may still replace, once; of `unknown` ask `is_provisional`."""

HOST_SILENT: Final = "host_silent"
"""The code of a command that ended as `unknown` because its host was silent, not by the host's own word."""

LATE_REPORT: Final = "late_report"
"""The only cause with which a provisional state may be replaced."""

_S = ServerState

TRANSITIONS: Final[dict[str, frozenset[tuple[ServerState, ServerState]]]] = {
    # a: policy, caps and rate limits admit it; the bytes are made once and stored.
    "a": frozenset({(_S.REQUESTED, _S.SIGNED)}),
    # b: published, PubAck seen.
    "b": frozenset({(_S.SIGNED, _S.QUEUED)}),
    # c: the host verified it, wrote RECEIVED and acked.
    "c": frozenset({(_S.QUEUED, _S.DELIVERED)}),
    # d: the host wrote STARTED.
    "d": frozenset({(_S.DELIVERED, _S.RUNNING)}),
    # e: the signed report of the end is stored. From `cancelling` too: the cancel may come too late.
    "e": frozenset(
        {
            (_S.RUNNING, _S.SUCCEEDED),
            (_S.RUNNING, _S.FAILED),
            (_S.CANCELLING, _S.SUCCEEDED),
            (_S.CANCELLING, _S.FAILED),
        }
    ),
    # f: before the first publish the server cancels (or lets expire) alone and finally; after it a cancel
    # waits in `cancelling` for the host's signed word or for `exp`. A host that is gone, or that never started
    # what it received, ends as `expired`; so does what was not admitted in the time its intent is good for.
    # Refusals are the host's signed word. A running command does not expire: only the host, or letter g, ends it.
    "f": frozenset(
        {
            (_S.REQUESTED, _S.CANCELLED),
            (_S.REQUESTED, _S.EXPIRED),
            (_S.SIGNED, _S.CANCELLED),
            (_S.SIGNED, _S.EXPIRED),
            (_S.QUEUED, _S.EXPIRED),
            (_S.DELIVERED, _S.EXPIRED),
            (_S.QUEUED, _S.REJECTED),
            (_S.QUEUED, _S.PARKED),
            (_S.QUEUED, _S.CANCELLING),
            (_S.DELIVERED, _S.CANCELLING),
            (_S.RUNNING, _S.CANCELLING),
            (_S.CANCELLING, _S.CANCELLED),
            (_S.CANCELLING, _S.EXPIRED),
            (_S.CANCELLING, _S.REJECTED),
            (_S.CANCELLING, _S.PARKED),
        }
    ),
    # g: a crash after STARTED and the probe cannot tell, or the host fell silent after it; never run again blindly.
    "g": frozenset({(_S.RUNNING, _S.UNKNOWN), (_S.CANCELLING, _S.UNKNOWN)}),
    # l: a late report; see the module's guarantees.
    "l": frozenset(
        {
            (_S.EXPIRED, _S.SUCCEEDED),
            (_S.EXPIRED, _S.FAILED),
            (_S.EXPIRED, _S.CANCELLED),
            (_S.EXPIRED, _S.UNKNOWN),
            (_S.PARKED, _S.SUCCEEDED),
            (_S.PARKED, _S.FAILED),
            (_S.PARKED, _S.CANCELLED),
            (_S.PARKED, _S.UNKNOWN),
            (_S.UNKNOWN, _S.SUCCEEDED),
            (_S.UNKNOWN, _S.FAILED),
            (_S.UNKNOWN, _S.CANCELLED),
        },
    ),
    # s: a cancel settled by the server, never sent: its target was not published yet, or had ended.
    "s": frozenset({(_S.REQUESTED, _S.SUCCEEDED), (_S.REQUESTED, _S.FAILED)}),
}
"""Letter -> the moves it allows."""

_LETTER: Final = {move: letter for letter, moves in TRANSITIONS.items() for move in moves}

_MAIN_LINE: Final = (_S.SIGNED, _S.QUEUED, _S.DELIVERED, _S.RUNNING)


class IllegalMoveError(StoreError):
    """A command cannot go from `from_state` to `to_state`."""

    def __init__(self, from_state: ServerState, to_state: ServerState) -> None:
        super().__init__(f"a command cannot go from {from_state} to {to_state}")
        self.from_state = from_state
        self.to_state = to_state


def can_move(from_state: ServerState, to_state: ServerState) -> bool:
    """Whether one lettered transition leads from `from_state` to `to_state`; staying put is not a move."""
    return (from_state, to_state) in _LETTER


def is_provisional(state: ServerState, code: str | None) -> bool:
    """Whether a late report may still replace this end.

    Args:
        state: of the command.
        code: of the command; it tells a host's own `unknown` from the server's.
    """
    return state in PROVISIONAL and (state is not ServerState.UNKNOWN or code == HOST_SILENT)


def letter_of(from_state: ServerState, to_state: ServerState) -> str:
    """The letter of the transition.

    Raises:
        IllegalMoveError: there is none.
    """
    try:
        return _LETTER[from_state, to_state]
    except KeyError:
        raise IllegalMoveError(from_state, to_state) from None


def route(from_state: ServerState, to_state: ServerState) -> tuple[ServerState, ...]:
    """The states to pass, `to_state` last, when a host's word arrives before the words it implies.

    Only the main line signed, queued, delivered, running is ever skipped over: a relay that died between
    PubAck and its mark, or a report that overtook another. The shortest such way is taken.

    Raises:
        IllegalMoveError: no legal way leads there.
    """
    passed: list[ServerState] = []
    here = from_state
    while not can_move(here, to_state):
        if here not in _MAIN_LINE[:-1]:
            raise IllegalMoveError(from_state, to_state)
        here = _MAIN_LINE[_MAIN_LINE.index(here) + 1]
        passed.append(here)
    return (*passed, to_state)
