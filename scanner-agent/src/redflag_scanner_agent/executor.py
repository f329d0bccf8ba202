"""Steps 11 to 15 of docs/protocol.md 5: RECEIVED, acknowledge, STARTED, act, DONE, report.

Guarantees:
1. One command acts at a time, in the order of `seq` after a start and of arrival otherwise.
2. Nothing acts before STARTED is on the disk, and no result is told before DONE is.
3. After a crash a command in STARTED is probed, never begun again; one in RECEIVED is begun if it has not expired.
4. Nothing but a failing journal ends the helper: work or a probe that breaks is a command ended as unknown.
5. Told to stop, the action in hand is finished and its DONE written; the next one is not begun.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from redflag_ops.logging import get_logger
from redflag_scanner_agent.actions import Actions, Body, Ending, failed
from redflag_scanner_agent.errors import AgentError, JournalError
from redflag_scanner_agent.failpoints import failpoint
from redflag_scanner_agent.guard import About
from redflag_scanner_agent.journal import Entry, Journal, JournalState
from redflag_scanner_agent.receipts import Receipts, Word, line, seal
from redflag_scanner_agent.spool import Spool
from redflag_wire.command import Command
from redflag_wire.report import BodyRef, CommandState, Outcome, ReportKind
from redflag_wire.report_bodies import HostEvent

log = get_logger()


class Executor:
    """Carries commands through the journal.

    Args:
        journal: the states.
        spool: for inventories beside the one of a command's report.
        receipts: the reports.
        actions: the work.
        now: trusted time, None before the first beacon.
        boot_id: of this boot.
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
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._receipts = receipts
        self._actions = actions
        self._now = now
        self._boot_id = boot_id
        self._waiting: deque[Entry] = deque()  # bounded by the journal: at most OPEN_MAX are open
        self._wake = asyncio.Event()
        self._stopping = False

    def receive(self, about: About) -> None:
        """Write RECEIVED with its report (step 11), then queue the command; on return it may be acknowledged.

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
        self._journal.receive(entry, lambda: self._receipts.say(word))
        self._waiting.append(entry)
        self._wake.set()

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
        """Begin nothing more; `run` returns after the action in hand."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Recover what a crash left, then act on what comes, until `stop`.

        Raises:
            JournalError: the journal failed; nothing may go on without it.
        """
        left = self._journal.unfinished()
        for entry in left:
            if entry.state is JournalState.STARTED and not self._stopping:
                await self._logged(entry, self._recover)
        known = {entry.cmd for entry in self._waiting}  # what came while the recovery was at work
        earlier = [one for one in left if one.state is JournalState.RECEIVED and one.cmd not in known]
        self._waiting.extendleft(reversed(earlier))
        while not self._stopping:
            self._wake.clear()
            if self._waiting and self._now() is not None:
                await self._logged(self._waiting.popleft(), self._carry_out)
            else:
                await self._wake.wait()

    async def _logged(self, entry: Entry, work: Callable[[Entry], Awaitable[None]]) -> None:
        with structlog.contextvars.bound_contextvars(cmd=entry.cmd, op=entry.op, kind=entry.kind):
            await work(entry)

    async def _recover(self, entry: Entry) -> None:
        log.warning("command.probing", boot_id=entry.boot_id, same_boot=entry.boot_id == self._boot_id)
        try:
            ending = await self._actions.probe(Command.from_bytes(entry.payload))
        except JournalError:
            raise
        except Exception as error:
            # Whatever it was: left open, this command would end the helper at every start from now on.
            log.exception("command.probe_broke")
            ending = failed("probe_broke", _said(error), Outcome.UNKNOWN)
        self._finish(entry, entry.started, ending)

    async def _carry_out(self, entry: Entry) -> None:
        command = Command.from_bytes(entry.payload)
        now = self._now()
        if now is None or now > command.exp:
            # It waited behind another one, or over a restart, until its time was over: it never began.
            self._finish(entry, None, Ending(Outcome.EXPIRED, "expired"))
            return
        window = command.pol.window
        if window is not None and not window.opens <= now <= window.closes:
            self._finish(entry, None, Ending(Outcome.REJECTED, "window"))
            return
        self._journal.start(
            entry.cmd,
            boot_id=self._boot_id,
            at=now,
            report=lambda: self._receipts.say(
                Word(cmd=entry.cmd, cmd_digest=entry.digest, state=CommandState.STARTED, started=now)
            ),
        )
        log.info("command.started", by=list(command.by.approvers), intent=command.by.intent)
        failpoint("executor.before_act")
        try:
            ending = await self._actions.act(command)
        except JournalError:
            raise
        except Exception as error:
            log.exception("command.broke")
            ending = failed("agent_error", _said(error), Outcome.UNKNOWN)
        failpoint("executor.after_act")
        self._finish(entry, now, ending)

    def _finish(self, entry: Entry, started: datetime | None, ending: Ending) -> None:
        ref, sealed = _sealed(ending.body)
        more = [_sealed(inventory) for inventory in ending.more]
        finished = self._now()
        word = Word(
            cmd=entry.cmd,
            cmd_digest=entry.digest,
            state=CommandState.DONE,
            result=ending.outcome,
            code=ending.code,
            plan_digest=ending.plan_digest,
            started=started,
            finished=finished,
            body=sealed,
            ref=ref,
        )

        def report() -> None:
            if ending.plan is not None and finished is not None:
                self._journal.keep_plan(
                    ending.plan.digest, ending.plan.manager, ending.plan.to_bytes(), finished
                )
            for more_ref, more_sealed in more:
                if more_ref is not None:
                    self._spool.add_pending(ReportKind.INVENTORY, more_sealed, more_ref)
            self._receipts.say(word)

        self._journal.finish(
            entry.cmd,
            result=ending.outcome.value,
            code=ending.code,
            at=finished,
            plan_digest=ending.plan_digest,
            body=sealed or None,
            body_ref=None if ref is None else ref.model_dump_json(),
            report=report,
        )
        log.info("command.done", result=ending.outcome.value, code=ending.code)
        if finished is not None:
            self._journal.prune(finished)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _sealed(body: Body | None) -> tuple[BodyRef | None, bytes]:
    """Pack a body; one that is too large is replaced by the reason it is missing."""
    if body is None:
        return None, b""
    try:
        return seal(body)
    except AgentError as error:
        event = HostEvent(code=error.code, severity="error", component="helper", message=line(error.detail))
        return seal(event)
