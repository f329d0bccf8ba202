"""Steps 11 to 15 of docs/protocol.md 5: RECEIVED, acknowledge, STARTED, act, DONE, report.

Guarantees:
1. One command acts at a time, in the order of `seq` after a start and of arrival otherwise; a restart in its delay
   holds nobody up. Cancels and fast mode do not wait: they are settled in the transaction that receives them.
2. Nothing acts before STARTED is on the disk, and no result is told before DONE is.
3. After a crash a command in STARTED is probed, never begun again; one in RECEIVED is begun if it has not expired.
4. Nothing ends the helper but a journal that is damaged: work or a probe that breaks is a command ended as unknown, and
   a full disk is waited for.
5. A command whose handling ended the helper ATTEMPTS_MAX times is ended, and the next one runs.
6. Told to stop, the action in hand is finished and its DONE written, or cut off and ended as `interrupted` if it only
   looks; the next one is not begun.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from redflag_ops.logging import get_logger
from redflag_scanner_agent.actions import Actions, Body, Ending, failed
from redflag_scanner_agent.cancelling import AT_ONCE, Cancelling, Settled, as_cancelled
from redflag_scanner_agent.disk_patience import DiskPatience
from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.failpoints import failpoint
from redflag_scanner_agent.fast_mode import FastMode
from redflag_scanner_agent.guard import About
from redflag_scanner_agent.in_hand import InHand
from redflag_scanner_agent.inventory_memory import InventoryMemory
from redflag_scanner_agent.journal import Entry, Journal, JournalState
from redflag_scanner_agent.looks import Looks
from redflag_scanner_agent.reboots import Reboots
from redflag_scanner_agent.receipts import Receipts, Word
from redflag_scanner_agent.spool import Spool
from redflag_scanner_agent.steps import Steps
from redflag_scanner_agent.tombstones import Tombstones
from redflag_wire.command import Command
from redflag_wire.command_params import CommandKind, EnableHeartbeatParams, RebootParams
from redflag_wire.report import BodyRef, CommandState, Outcome
from redflag_wire.report_bodies import HostEvent

ATTEMPTS_MAX = 3  # times the handling of one command may end the helper
log = get_logger()


class Executor:
    """Carries commands through the journal.

    Args:
        journal: the states.
        spool: for bodies beside the one of a command's report.
        receipts: the reports.
        actions: the work.
        now: trusted time, None before the first beacon.
        boot_id: of this boot.
        reboots: restarts between their start and their proof.
        tombstones: commands cancelled before they came.
        fast_mode: whether the host polls without pause.
        memory: what the server holds of the inventories.
        looks: when which subsystem was looked at last.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        spool: Spool,
        receipts: Receipts,
        actions: Actions,
        now: Callable[[], datetime | None],
        boot_id: str,
        reboots: Reboots,
        tombstones: Tombstones,
        fast_mode: FastMode,
        memory: InventoryMemory,
        looks: Looks,
    ) -> None:
        self._journal = journal
        self._receipts = receipts
        self._actions = actions
        self._now = now
        self._boot_id = boot_id
        self._reboots = reboots
        self._tombstones = tombstones
        self._fast_mode = fast_mode
        self._steps = Steps(
            journal=journal,
            spool=spool,
            receipts=receipts,
            now=now,
            boot_id=boot_id,
            memory=memory,
            looks=looks,
        )
        self._cancelling = Cancelling(journal, tombstones, self._can_stop)
        self._waiting: deque[Entry] = deque()  # bounded by the journal: at most OPEN_MAX are open
        self._in_hand = InHand(actions)
        self._after: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._told_to_stop = asyncio.Event()
        self._disk = DiskPatience(self._told_to_stop)

    @property
    def _stopping(self) -> bool:
        return self._told_to_stop.is_set()

    def receive(self, about: About) -> None:
        """Write RECEIVED with its report (step 11), then queue the command; on return it may be acknowledged.

        A cancel, and fast mode, are settled in the same transaction.

        Raises:
            JournalError: it is not on the disk and must not be acknowledged.
        """
        command = about.command
        entry = Entry(
            cmd=str(command.cmd),
            digest=about.digest,
            seq=command.seq,
            kind=command.kind.value,
            op=None if command.op is None else str(command.op),
            payload=about.payload,
            exp=command.exp,
            state=JournalState.RECEIVED,
        )
        word = Word(cmd=entry.cmd, cmd_digest=entry.digest, state=CommandState.RECEIVED)
        settled = Settled()
        with self._journal.step():
            self._journal.receive(entry, lambda: self._steps.say(word))
            now = self._now()
            if command.kind in AT_ONCE and now is not None:
                settled = self._settle(entry, command, now)
        if command.kind not in AT_ONCE:
            self._waiting.append(entry)
        self._follow(settled)
        self._wake.set()

    def _settle(self, entry: Entry, command: Command, now: datetime) -> Settled:
        """Carry out what needs no waiting, within the caller's transaction; return what is to follow it."""
        self._steps.begin(entry, now)
        params = command.typed_params
        if isinstance(params, EnableHeartbeatParams):
            self._fast_mode.enable(params.duration_s, now)
        elif command.kind is CommandKind.DISABLE_HEARTBEAT:
            self._fast_mode.disable()
        else:
            settled = self._cancelling.settle(entry, command, now)
            for ended in settled.ended:
                self._finish(ended.entry, ended.entry.started, ended.ending, settle=False)
            return settled
        self._finish(entry, now, Ending(Outcome.SUCCEEDED))
        return Settled()

    def _follow(self, settled: Settled) -> None:
        """Do what a cancel means for what runs, once it is on the disk."""
        gone = {ended.entry.cmd for ended in settled.ended}
        self._waiting = deque(one for one in self._waiting if one.cmd not in gone)
        for cmd in gone:
            if self._reboots.drop(cmd):
                task = asyncio.create_task(self._reboots.tell_dropped())
                self._after.add(task)
                task.add_done_callback(self._after.discard)
        if settled.stop is not None:
            self._in_hand.stop(settled.stop)

    def _can_stop(self, entry: Entry) -> bool:
        """Whether a started command can still be stopped with nothing half done."""
        # What is not in hand is a restart in its delay, or what a crash left: its recovery looks at the wish.
        return entry.ordered_ms is None and self._in_hand.can_stop(entry.cmd)

    def answer_again(self, entry: Entry) -> None:
        """Say once more what the journal knows: a delivery of a known command is a question about it."""
        result = None if entry.result is None else Outcome(entry.result)
        ref = None if entry.body_ref is None else BodyRef.model_validate_json(entry.body_ref)
        self._receipts.repeat(
            Word(
                cmd=entry.cmd,
                cmd_digest=entry.digest,
                state=CommandState(entry.state.value),
                result=result,
                code=entry.code,
                plan_digest=entry.plan_digest,
                started=entry.started,
                finished=entry.finished,
                body=entry.body or b"",
                ref=ref,
            )
        )

    def time_known(self) -> None:
        """Say that a beacon came: commands that waited over a restart can be judged by it now."""
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; `run` returns after the action in hand, which ends at once if it only looks."""
        self._told_to_stop.set()
        self._in_hand.interrupt()
        self._wake.set()

    async def run(self) -> None:
        """Recover what a crash left, then act on what comes, until `stop`.

        Raises:
            JournalError: the journal failed; nothing may go on without it.
        """
        left = self._journal.unfinished()
        for entry in left:
            if (
                entry.kind != CommandKind.CANCEL
                and entry.state is JournalState.STARTED
                and not self._stopping
            ):
                await self._logged(entry, self._recover)
        await self._settle_left()
        known = {entry.cmd for entry in self._waiting}  # what came while the recovery was at work
        earlier = [one for one in left if one.state is JournalState.RECEIVED and one.cmd not in known]
        self._waiting.extendleft(reversed([one for one in earlier if one.kind != CommandKind.CANCEL]))
        while not self._stopping:
            self._wake.clear()
            await self._settle_left()
            due = self._reboots.take_due()
            if due is not None:
                await self._logged(due, self._order)
            elif self._waiting and self._now() is not None and not self._reboots.going_down:
                await self._logged(self._waiting.popleft(), self._carry_out)
            else:
                await self._sleep(self._reboots.next_s())

    async def _sleep(self, most_s: float | None) -> None:
        try:
            async with asyncio.timeout(most_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _logged(self, entry: Entry, work: Callable[[Entry], Awaitable[None]]) -> None:
        with structlog.contextvars.bound_contextvars(cmd=entry.cmd, op=entry.op, kind=entry.kind):
            await work(entry)

    async def _settle_left(self) -> None:
        """Settle the cancels that a crash left, or that found no trusted time when they came."""
        now = self._now()
        if now is None:
            return
        for entry in self._journal.unfinished():
            if entry.kind != CommandKind.CANCEL or entry.state is not JournalState.RECEIVED:
                continue
            try:
                command = Command.from_bytes(entry.payload)
            except Exception as error:
                log.exception("command.unreadable")
                await self._never_begun(entry, error)
                continue
            await self._at_once(entry, command, now)

    async def _at_once(self, entry: Entry, command: Command, now: datetime) -> None:
        """Settle later what is settled when it comes."""

        def settle() -> Settled:
            with self._journal.step():
                # A full disk may have held this up, and another cancel may have found its target meanwhile.
                return Settled() if self._open(entry) is None else self._settle(entry, command, now)

        self._follow(await self._disk.durably(settle))

    async def _never_begun(self, entry: Entry, error: Exception) -> None:
        """End what was read once, before it was journaled, and cannot be read now; a newer agent may be stricter."""
        await self._disk.durably(lambda: self._end(entry, None, failed("payload", _text(error))))

    def _open(self, entry: Entry) -> Entry | None:
        """Return what the journal says now of a command that is not done; None when it has ended meanwhile.

        Between the moment a command was read and its turn, a cancel may have ended it.
        """
        found = self._journal.find(entry.cmd)
        return None if found is None or found.state is JournalState.DONE else found

    async def _given_up(self, entry: Entry) -> bool:
        """Count an attempt; end the command if there were too many."""
        attempts = await self._disk.durably(lambda: self._journal.attempt(entry.cmd))
        if attempts <= ATTEMPTS_MAX:
            failpoint("executor.after_attempt")
            return False
        log.critical("command.given_up", attempts=attempts - 1)
        said = f"the agent ended {attempts - 1} times while it handled this command"
        event = HostEvent(
            code="command_given_up",
            severity="critical",
            component="helper",
            message=said,
            data={"cmd": entry.cmd, "kind": entry.kind},
        )
        begun = entry.state is JournalState.STARTED
        ending = failed("attempts", said, Outcome.UNKNOWN if begun else Outcome.FAILED)

        def end() -> None:
            with self._journal.step():
                self._end(entry, entry.started, ending)
                self._receipts.event(event)

        await self._disk.durably(end)
        return True

    async def _recover(self, left: Entry) -> None:
        entry = self._open(left)
        if entry is None:
            return
        log.warning("command.probing", boot_id=entry.boot_id, same_boot=entry.boot_id == self._boot_id)
        if await self._given_up(entry):
            return
        try:
            command = Command.from_bytes(entry.payload)
            if command.kind is CommandKind.REBOOT:
                found = self._reboots.recover(entry)
                if found is None:
                    await self._disk.durably(lambda: self._journal.waits_on(entry.cmd))
                    return
                ending = found
            else:
                ending = await self._actions.probe(command)
                wish = self._journal.find(entry.cmd) or entry  # a cancel may have come while it looked
                ending = as_cancelled(wish, command, ending)
        except JournalError:
            raise
        except Exception as error:
            # Whatever it was: left open, this command would end the helper at every start from now on.
            log.exception("command.probe_broke")
            ending = failed("probe_broke", _text(error), Outcome.UNKNOWN)
        await self._disk.durably(lambda: self._end(entry, entry.started, ending))

    async def _carry_out(self, waiting: Entry) -> None:
        entry = self._open(waiting)
        if entry is None or await self._given_up(entry):
            return
        now = self._now()
        try:
            command = Command.from_bytes(entry.payload)
        except Exception as error:
            log.exception("command.unreadable")
            await self._never_begun(entry, error)
            return
        if now is None or now > command.exp:
            # It waited behind another one, or over a restart, until its time was over: it never began.
            await self._disk.durably(lambda: self._end(entry, None, Ending(Outcome.EXPIRED, "expired")))
            return
        window = command.pol.window
        if window is not None and not window.opens <= now <= window.closes:
            await self._disk.durably(lambda: self._end(entry, None, Ending(Outcome.REJECTED, "window")))
            return
        params = command.typed_params
        if isinstance(params, RebootParams):
            await self._begin_reboot(entry, command, params, now)
            return
        if command.kind in AT_ONCE:
            # Only what an agent without trusted time left behind; a cancel is settled elsewhere.
            await self._at_once(entry, command, now)
            return
        if not await self._disk.durably(lambda: self._begin(entry, now)):
            return
        log.info("command.started", by=list(command.by.approvers), intent=command.by.intent)
        failpoint("executor.before_act")
        ending = await self._in_hand.act(entry.cmd, command)
        failpoint("executor.after_act")
        await self._disk.durably(lambda: self._finish(entry, now, ending))

    def _begin(self, entry: Entry, now: datetime, *, due_ms: int | None = None) -> bool:
        """Write STARTED; false when it was cancelled while it waited for the disk."""
        if self._open(entry) is None:
            return False
        self._steps.begin(entry, now, due_ms=due_ms)
        return True

    async def _begin_reboot(
        self, entry: Entry, command: Command, params: RebootParams, now: datetime
    ) -> None:
        made = self._reboots.came_before(command.iat, now)
        if made is not None:
            await self._disk.durably(lambda: self._begin_and_end(entry, now, made))
            return
        due_ms = self._reboots.due_ms(params)
        if not await self._disk.durably(lambda: self._begin(entry, now, due_ms=due_ms)):
            return
        found = self._journal.find(entry.cmd)
        if found is None:
            raise JournalError("journal_order", f"command {entry.cmd} is gone")
        await self._reboots.begin(found, params, due_ms)
        await self._disk.durably(lambda: self._journal.waits_on(entry.cmd))

    def _begin_and_end(self, entry: Entry, now: datetime, ending: Ending) -> None:
        with self._journal.step():
            if self._begin(entry, now):
                self._finish(entry, now, ending)

    async def _order(self, due: Entry) -> None:
        # A restart in the middle of somebody's installation can leave a host that does not start any more.
        holder = None if due.ordered_ms is not None else await self._actions.at_work()
        entry = self._open(due)
        if entry is None:
            return
        try:
            ending = (
                await self._reboots.order(entry)
                if holder is None
                else failed("packages_at_work", f"not restarted while packages are changed: {holder}")
            )
        except JournalError as error:
            if error.code != "journal_write":
                raise
            # Without a durable order there is no restart: a crash could give it twice.
            ending = failed("reboot_not_done", f"the order could not be written down: {error.detail}")
        if ending is not None:
            await self._disk.durably(lambda: self._end(entry, entry.started, ending))

    def _end(self, entry: Entry, started: datetime | None, ending: Ending) -> None:
        """Write DONE of what a cancel may have ended meanwhile; its end then stands."""
        if self._open(entry) is not None:
            self._finish(entry, started, ending)

    def _finish(self, entry: Entry, started: datetime | None, ending: Ending, *, settle: bool = True) -> None:
        """Write DONE, its report, and the end of the cancels that waited for it, in one transaction."""
        with self._journal.step():
            self._steps.finish(entry, started, ending)
            if settle:
                for ended in self._cancelling.waited_for(entry.cmd, ending.outcome):
                    self._steps.finish(ended.entry, ended.entry.started, ended.ending)
        log.info("command.done", result=ending.outcome.value, code=ending.code)
        self._prune()

    def _prune(self) -> None:
        now = self._now()
        if now is None:
            return
        try:
            self._journal.prune(now)
            self._tombstones.prune(now)
        except JournalError as error:
            # The end it comes after stands; what is left here is forgotten with the next one.
            log.warning("journal.not_pruned", code=error.code, detail=error.detail)

    def send_beside(self, body: Body, *, full: bool) -> None:
        """Leave a body that belongs to no command for the agent key to sign."""
        self._steps.send_beside(body, full=full)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
