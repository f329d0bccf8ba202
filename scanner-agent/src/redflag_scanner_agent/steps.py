"""STARTED and DONE with everything that belongs to them, each one transaction (docs/protocol.md 5, steps 12 and 14).

An inventory is sent whole or as changes, and remembered with the number of its report; a body too large for a report
is replaced by the reason it is missing, so that a result is never lost to its size.
"""

from collections.abc import Callable
from datetime import datetime

from redflag_scanner_agent.actions import Body, Ending
from redflag_scanner_agent.errors import AgentError
from redflag_scanner_agent.host_events import scan_failed
from redflag_scanner_agent.inventory_memory import InventoryMemory
from redflag_scanner_agent.journal import Entry, Journal
from redflag_scanner_agent.looks import Looks
from redflag_scanner_agent.receipts import Receipts, Word, line, report_kind, seal
from redflag_scanner_agent.spool import Spool
from redflag_wire.report import BodyRef, CommandState
from redflag_wire.report_bodies import HostEvent, Inventory


class Steps:
    """Writes the steps of commands.

    Args:
        journal: the states.
        spool: for bodies beside the one of a command's report.
        receipts: the reports.
        now: trusted time, None before the first beacon.
        boot_id: of this boot.
        memory: what the server holds of the inventories.
        looks: when which subsystem was looked at last.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        spool: Spool,
        receipts: Receipts,
        now: Callable[[], datetime | None],
        boot_id: str,
        memory: InventoryMemory,
        looks: Looks,
    ) -> None:
        self._journal = journal
        self._spool = spool
        self._receipts = receipts
        self._now = now
        self._boot_id = boot_id
        self._memory = memory
        self._looks = looks

    def say(self, word: Word) -> None:
        """Keep a report, in the surrounding transaction if there is one."""
        self._receipts.say(word)

    def begin(self, entry: Entry, now: datetime, *, due_ms: int | None = None) -> None:
        """Write STARTED.

        Args:
            entry: a command in RECEIVED.
            now: trusted time.
            due_ms: when it is due, if it waits first.

        Raises:
            JournalError: it is not in RECEIVED, or the disk refused.
        """
        word = Word(cmd=entry.cmd, cmd_digest=entry.digest, state=CommandState.STARTED, started=now)
        self._journal.start(
            entry.cmd, boot_id=self._boot_id, at=now, report=lambda: self.say(word), due_ms=due_ms
        )

    def finish(self, entry: Entry, started: datetime | None, ending: Ending) -> None:
        """Write DONE, in the surrounding transaction if there is one.

        Args:
            entry: a command that is not done.
            started: trusted time of its start, None if it never began.
            ending: how it ended.

        Raises:
            JournalError: it is done already, or the disk refused.
        """
        body, keep = self._packed(ending.body, full=ending.full)
        ref, sealed = _sealed(body)
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
            for more in ending.more:
                self.send_beside(more, full=ending.full)
            rseq = self._receipts.say(word)
            if keep is not None:
                self._memory.keep(keep, rseq=rseq)
            self._looks.keep(ending.looked, finished)
            for subsystem, code in ending.looked.items():
                if code is not None:
                    self._receipts.event(scan_failed(subsystem, code, ending.faults.get(subsystem, "")))

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

    def send_beside(self, body: Body, *, full: bool) -> None:
        """Leave a body for the agent key to sign, in the surrounding transaction if there is one."""
        packed, keep = self._packed(body, full=full)
        ref, sealed = _sealed(packed)
        if ref is None:
            return
        pending = self._spool.add_pending(report_kind(body), sealed, ref)
        if keep is not None and pending:
            self._memory.keep(keep, pending=pending)

    def _packed(self, body: Body | None, *, full: bool) -> tuple[Body | None, Inventory | None]:
        if not isinstance(body, Inventory):
            return body, None
        packed = self._memory.pack(body, full=full)
        return packed.body, packed.keep


def _sealed(body: Body | None) -> tuple[BodyRef | None, bytes]:
    """Pack a body; one that is too large is replaced by the reason it is missing."""
    if body is None:
        return None, b""
    try:
        return seal(body)
    except AgentError as error:
        event = HostEvent(code=error.code, severity="error", component="helper", message=line(error.detail))
        return seal(event)
