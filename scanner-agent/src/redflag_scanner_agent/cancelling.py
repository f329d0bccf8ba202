"""What a cancel means for its target (docs/protocol.md 5). Decisions only; the executor writes them down.

A target that only waits ends as cancelled. One that was begun and can still be stopped is told to stop, and the cancel
ends with it. Past the point of no return, and for what has ended, the cancel ends as too late. An id nobody has heard
of is remembered, so that a target that comes after its cancel does not begin.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from redflag_scanner_agent.actions import CHANGING_PACKAGES, Ending, failed
from redflag_scanner_agent.journal import Entry, Journal, JournalState
from redflag_scanner_agent.tombstones import Tombstones
from redflag_wire.command import Command
from redflag_wire.command_params import CancelParams, CommandKind
from redflag_wire.errors import WireError
from redflag_wire.report import Outcome

AT_ONCE = frozenset({CommandKind.CANCEL, CommandKind.ENABLE_HEARTBEAT, CommandKind.DISABLE_HEARTBEAT})
"""Kinds that do not wait behind the action in hand: a cancel would come too late, fast mode too."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command and its end."""

    entry: Entry
    ending: Ending


@dataclass(frozen=True, slots=True)
class Settled:
    """What a cancel comes to.

    Attributes:
        ended: what ends now.
        stop: the action in hand that is to stop, None for none.
    """

    ended: list[Ended] = field(default_factory=list)
    stop: str | None = None


class Cancelling:
    """Decides about cancels.

    Args:
        journal: the states.
        tombstones: ids to be refused when they come.
        can_stop: whether a started command can still be stopped with nothing half done.
    """

    def __init__(self, journal: Journal, tombstones: Tombstones, can_stop: Callable[[Entry], bool]) -> None:
        self._journal = journal
        self._tombstones = tombstones
        self._can_stop = can_stop

    def settle(self, entry: Entry, command: Command, now: datetime) -> Settled:
        """Decide about one cancel, which is STARTED; writes tombstones and wishes, within the caller's transaction.

        Args:
            entry: the cancel.
            command: the same, read.
            now: trusted time.
        """
        params = command.typed_params
        if not isinstance(params, CancelParams):
            raise TypeError(f"{command.kind} is no cancel")
        started = self._journal.find(entry.cmd) or entry
        target = self._journal.find(str(params.cmd))
        done = Ended(started, Ending(Outcome.SUCCEEDED))
        if target is None:
            self._tombstones.bury(str(params.cmd), now)
            return Settled([done])
        if target.state is JournalState.DONE:
            return Settled([Ended(started, _verdict(target.result))])
        if target.kind in AT_ONCE:
            return Settled([Ended(started, _too_late(f"a {target.kind} cannot be stopped"))])
        if target.state is JournalState.RECEIVED:
            return Settled([Ended(target, Ending(Outcome.CANCELLED, "cancelled")), done])
        if not self._can_stop(target):
            return Settled([Ended(started, _too_late("it is past the point where it can be stopped"))])
        if target.kind == CommandKind.REBOOT:
            return Settled([Ended(target, Ending(Outcome.CANCELLED, "cancelled")), done])
        self._journal.want_cancel(target.cmd, entry.cmd)
        return Settled(stop=target.cmd)

    def waited_for(self, cmd: str, outcome: Outcome) -> list[Ended]:
        """Return the cancels that end with their target.

        Args:
            cmd: the target.
            outcome: how it ended.
        """
        return [
            Ended(one, _verdict(outcome.value))
            for one in self._journal.unfinished()
            if one.kind == CommandKind.CANCEL and _target(one) == cmd
        ]


def as_cancelled(entry: Entry, command: Command, ending: Ending) -> Ending:
    """Return the end of a command that was asked to stop when the helper died: cancelled if nothing was done."""
    if entry.cancel is None:
        return ending
    if command.kind not in CHANGING_PACKAGES or ending.outcome is Outcome.FAILED:
        return Ending(Outcome.CANCELLED, "cancelled")
    return ending


def _target(entry: Entry) -> str | None:
    try:
        params = Command.from_bytes(entry.payload).typed_params
    except WireError:
        return None
    return str(params.cmd) if isinstance(params, CancelParams) else None


def _verdict(result: str | None) -> Ending:
    if result == Outcome.CANCELLED.value:
        return Ending(Outcome.SUCCEEDED)
    return _too_late(f"it had ended: {result}")


def _too_late(detail: str) -> Ending:
    return failed("too_late", detail)
