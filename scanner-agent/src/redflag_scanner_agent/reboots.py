"""Restarts of the machine between their start and their proof (docs/protocol.md 5).

STARTED is written with the boot id and the moment the restart is due, the people on the host are told, the delay
passes while other commands go on, `ordered` is written, the restart is ordered. The next helper sees another boot id:
done. Sees it the same boot id after the order, the host did not restart.

Guarantees:
1. At most one restart for a command, whatever crashes: the order is on the disk before it is given, and an order that
   is on the disk is never given again.
2. Until `ordered` is on the disk it can be cancelled; afterwards not.
3. A host that was started after a restart was asked for is not restarted for it: a journal that comes back older at
   every start (a disk restored from a snapshot) makes no circle of restarts.
4. A restart whose moment passed while no agent ran is not made up for: people expect it then, not now.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from redflag_ops.logging import get_logger
from redflag_scanner_agent.actions import Ending, failed
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.failpoints import failpoint
from redflag_scanner_agent.journal import Entry, Journal
from redflag_scanner_agent.receipts import line
from redflag_scanner_agent.restart import Restart, RestartRefusedError
from redflag_wire.clock import Clock
from redflag_wire.command_params import RebootParams
from redflag_wire.report import Outcome
from redflag_wire.report_bodies import HostEvent

MISSED_S = 300.0  # seconds after its moment at which a restart nobody made is given up
SIGNER_LEEWAY = timedelta(seconds=180)  # how far the signer's clock may be behind the beacons'
SETTLE_S = 300.0  # seconds a host has for going down after the order

log = get_logger()


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: Entry
    due_s: float


class Reboots:
    """The restarts under way; at most one is ordered at a time.

    Args:
        journal: the states.
        restart: tells the people and orders the restart.
        clock: its monotonic clock counts the delay; it also runs while the machine sleeps.
        boot_id: of this boot.
    """

    def __init__(self, journal: Journal, restart: Restart, clock: Clock, boot_id: str) -> None:
        self._journal = journal
        self._restart = restart
        self._clock = clock
        self._boot_id = boot_id
        self._waiting: dict[str, _Waiting] = {}

    def due_ms(self, params: RebootParams) -> int:
        """Return the moment a restart that begins now is due, in monotonic milliseconds of this boot."""
        return int((self._clock.monotonic() + params.delay_s) * 1000)

    def came_before(self, asked: datetime, now: datetime) -> Ending | None:
        """Say that the host was started since a restart was asked for, None when it was not.

        Args:
            asked: when the command was signed.
            now: trusted time, a lower bound: the start that is worked out from it never lies later than the true one.
        """
        started = now - timedelta(seconds=self._clock.monotonic())
        if started <= asked + SIGNER_LEEWAY:
            return None
        event = HostEvent(
            code="rebooted_before",
            severity="info",
            component="helper",
            message="the host was started after this restart was asked for; it was not restarted once more",
            data={"after": line(self._boot_id)},
        )
        return Ending(Outcome.SUCCEEDED, body=event)

    async def begin(self, entry: Entry, params: RebootParams, due_ms: int) -> None:
        """Let the delay run; STARTED is on the disk."""
        self._waiting[entry.cmd] = _Waiting(entry, due_ms / 1000)
        log.warning("reboot.announced", delay_s=params.delay_s, reason=line(params.reason))
        failpoint("reboot.before_notice")
        await self._restart.notice(_announced(params))

    def recover(self, entry: Entry) -> Ending | None:
        """Say how a started restart ended, seen from a new process; None when it goes on waiting."""
        if entry.boot_id != self._boot_id:
            event = HostEvent(
                code="rebooted",
                severity="info",
                component="helper",
                message="the host was restarted",
                data={"before": line(entry.boot_id or ""), "after": line(self._boot_id)},
            )
            return Ending(Outcome.SUCCEEDED, body=event)
        if entry.ordered_ms is not None:
            self._waiting[entry.cmd] = _Waiting(entry, entry.ordered_ms / 1000 + SETTLE_S)
            return None
        if entry.cancel is not None:
            return Ending(Outcome.CANCELLED, "cancelled")
        if entry.due_ms is None:
            return failed("interrupted", "the agent was stopped before the restart was announced")
        self._waiting[entry.cmd] = _Waiting(entry, entry.due_ms / 1000)
        return None

    def drop(self, cmd: str) -> bool:
        """Forget a restart that was cancelled in its delay, at once; return whether there was one to forget."""
        waiting = self._waiting.get(cmd)
        if waiting is None or waiting.entry.ordered_ms is not None:
            return False
        del self._waiting[cmd]
        log.warning("reboot.cancelled", cmd=cmd)
        return True

    async def tell_dropped(self) -> None:
        """Tell the people that a restart they were told of was cancelled."""
        await self._restart.notice("RedFlag: the restart of this host was cancelled")

    @property
    def going_down(self) -> bool:
        """Whether a restart was ordered and the host still has its time to go down: nothing else begins now."""
        return any(one.entry.ordered_ms is not None for one in self._waiting.values())

    def next_s(self) -> float | None:
        """Return seconds until the next moment something is due, None for never."""
        candidates = self._candidates()
        if not candidates:
            return None
        return max(0.0, min(one.due_s for one in candidates) - self._clock.monotonic())

    def _candidates(self) -> list[_Waiting]:
        """Return what may come due: after an order only its proof, for a second order could meet the next boot."""
        waiting = list(self._waiting.values())
        return [one for one in waiting if one.entry.ordered_ms is not None] or waiting

    def take_due(self) -> Entry | None:
        """Take the restart whose moment has come, the earliest first."""
        now = self._clock.monotonic()
        due = sorted((one for one in self._candidates() if one.due_s <= now), key=lambda one: one.due_s)
        if not due:
            return None
        return self._waiting.pop(due[0].entry.cmd).entry

    async def order(self, entry: Entry) -> Ending | None:
        """Order a restart that is due; None when it was ordered and the host has its time to go down.

        Raises:
            JournalError: the order could not be made durable, so it was not given.
        """
        if entry.ordered_ms is not None:
            return failed("reboot_not_done", f"the host did not restart within {SETTLE_S:g} s of the order")
        now = self._clock.monotonic()
        if entry.due_ms is not None and now > entry.due_ms / 1000 + MISSED_S:
            return failed("reboot_missed", "the agent did not run at the moment of the restart; ask again")
        self._journal.order_restart(entry.cmd, int(now * 1000))
        log.warning("reboot.ordered")
        try:
            await self._restart.restart()
        except RestartRefusedError as error:
            return failed(error.code, error.detail)
        failpoint("reboot.after_restart")
        found = self._journal.find(entry.cmd)
        if found is None:
            raise JournalError("journal_order", f"command {entry.cmd} is gone")
        self._waiting[entry.cmd] = _Waiting(found, now + SETTLE_S)
        return None


def _announced(params: RebootParams) -> str:
    when = "now" if params.delay_s == 0 else f"in {_spoken(params.delay_s)}"
    reason = f": {line(params.reason)}" if params.reason else ""
    return f"RedFlag: this host restarts {when}{reason}"


def _spoken(seconds: int) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds} seconds"
    return f"{round(seconds / 60)} minutes"
