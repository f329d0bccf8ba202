"""What the host knows of the commands it was given: RECEIVED, STARTED, DONE and nothing else.

Guarantees (docs/protocol.md 5):
1. A state that was returned from is on the disk.
2. One cmd id has one digest for ever; a second digest is never written.
3. States go forward only: received -> started -> done, or received -> done for what was never begun.
4. A row is forgotten only after KEEP beyond its `exp`, and the floor then covers its `seq`: a forgotten command
   cannot come back.
5. The report of a step is written in the step's own transaction: the callback passed in runs inside it.
6. A restart is ordered at most once for a command, whatever crashes: the order is on the disk before it is given.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from redflag_scanner_agent.errors import JournalError
from redflag_scanner_agent.failpoints import failpoint
from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire.timestamps import format_timestamp, parse_timestamp

KEEP = timedelta(hours=48)  # beyond exp; twice the longest life of any command
OPEN_MAX = 64  # commands received and not done; the server keeps at most 10 pending per agent
CANCELS_MAX = 256  # cancels that may wait beside them for the end of what they are to stop
PLANS_MAX = 256  # newest plans kept

_FLOOR = "floor"


class JournalState(StrEnum):
    """The three states of protocol.md 5."""

    RECEIVED = "received"
    STARTED = "started"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One journaled command.

    Attributes:
        cmd: its id, canonical text.
        digest: of the payload bytes.
        seq: its number.
        kind: what it asks for.
        op: the operation it belongs to.
        payload: the verified payload bytes.
        exp: its end of life.
        state: how far it is.
        boot_id: the boot it was started in.
        started: trusted time of the start.
        finished: trusted time of the end.
        result: the outcome, when done.
        code: why, when refused or failed.
        plan_digest: of the plan made or carried out.
        body: the sealed body of the final report.
        body_ref: its reference as JSON text.
        attempts: how often work on it was begun without coming to an end, over all starts of the helper.
        cancel: the command that asks for its end, None for none.
        due_ms: monotonic milliseconds of its boot at which a delayed restart is due.
        ordered_ms: the same of the moment before the restart was ordered; from then on there is no way back.
    """

    cmd: str
    digest: str
    seq: int
    kind: str
    op: str | None
    payload: bytes
    exp: datetime
    state: JournalState
    boot_id: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    result: str | None = None
    code: str | None = None
    plan_digest: str | None = None
    body: bytes | None = None
    body_ref: str | None = None
    attempts: int = 0
    cancel: str | None = None
    due_ms: int | None = None
    ordered_ms: int | None = None


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)


class Journal:
    """The commands and plans in a journal file.

    Args:
        file: the open file.
    """

    def __init__(self, file: JournalFile) -> None:
        self._file = file
        self._db = file.db

    @property
    def floor(self) -> int:
        """The highest `seq` that was ever forgotten; 0 if none was."""
        value = self._file.get(_FLOOR)
        return 0 if value is None else int(value)

    def step(self) -> AbstractContextManager[None]:
        """Make several writes one durable step, or nothing of it (`JournalFile.transaction`)."""
        return self._file.transaction()

    def find(self, cmd: str) -> Entry | None:
        """Return a command that is remembered."""
        row = self._db.execute("SELECT * FROM command WHERE cmd = ?", (cmd,)).fetchone()
        return None if row is None else self._entry(dict(row))

    def unfinished(self) -> list[Entry]:
        """Return what is received or started, in the order of `seq`; at most OPEN_MAX and the cancels."""
        rows = self._db.execute(
            "SELECT * FROM command WHERE state <> 'done' ORDER BY seq LIMIT ?", (OPEN_MAX + CANCELS_MAX,)
        )
        return [self._entry(dict(row)) for row in rows]

    def has_room(self, *, cancel: bool = False) -> bool:
        """Whether another command may be received; a `cancel` finds room where others find none."""
        row = self._db.execute("SELECT count(*) AS n FROM command WHERE state <> 'done'").fetchone()
        return int(row["n"]) < OPEN_MAX + (CANCELS_MAX if cancel else 0)

    def receive(self, entry: Entry, report: Callable[[], None]) -> None:
        """Write RECEIVED.

        Args:
            entry: a command that `find` does not know.
            report: writes the step's report into the same transaction.

        Raises:
            JournalError: the id is known, or the disk refused.
        """
        failpoint("journal.before_received")
        with self._file.transaction():
            self._db.execute(
                "INSERT INTO command (cmd, digest, seq, kind, op, payload, exp, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'received')",
                (
                    entry.cmd,
                    entry.digest,
                    entry.seq,
                    entry.kind,
                    entry.op,
                    entry.payload,
                    format_timestamp(entry.exp),
                ),
            )
            report()
            failpoint("journal.within_received")
        failpoint("journal.after_received")

    def start(
        self,
        cmd: str,
        *,
        boot_id: str,
        at: datetime,
        report: Callable[[], None],
        due_ms: int | None = None,
    ) -> None:
        """Write STARTED with the boot the action begins in, and when it is due if it waits first.

        Raises:
            JournalError: the command is not in RECEIVED, or the disk refused.
        """
        failpoint("journal.before_started")
        with self._file.transaction():
            changed = self._db.execute(
                "UPDATE command SET state = 'started', boot_id = ?, started = ?, due_ms = ?"
                " WHERE cmd = ? AND state = 'received'",
                (boot_id, format_timestamp(at), due_ms, cmd),
            )
            self._one(changed.rowcount, cmd, "started")
            report()
            failpoint("journal.within_started")
        failpoint("journal.after_started")

    def finish(
        self,
        cmd: str,
        *,
        result: str,
        code: str | None,
        at: datetime | None,
        plan_digest: str | None,
        body: bytes | None,
        body_ref: str | None,
        report: Callable[[], None],
    ) -> None:
        """Write DONE with the result; its report row is part of the same transaction.

        `at` is None when there is no trusted time, as right after a restart.

        Raises:
            JournalError: the command is done already or unknown, or the disk refused.
        """
        failpoint("journal.before_done")
        with self._file.transaction():
            changed = self._db.execute(
                "UPDATE command SET state = 'done', result = ?, code = ?, finished = ?, plan_digest = ?,"
                " body = ?, body_ref = ? WHERE cmd = ? AND state <> 'done'",
                (
                    result,
                    code,
                    None if at is None else format_timestamp(at),
                    plan_digest,
                    body,
                    body_ref,
                    cmd,
                ),
            )
            self._one(changed.rowcount, cmd, "done")
            report()
            failpoint("journal.within_done")
        failpoint("journal.after_done")

    def attempt(self, cmd: str) -> int:
        """Count that work on a command begins now; return how often it began, this time included.

        Raises:
            JournalError: the disk refused.
        """
        with self._file.transaction():
            self._db.execute("UPDATE command SET attempts = attempts + 1 WHERE cmd = ?", (cmd,))
            row = self._db.execute("SELECT attempts FROM command WHERE cmd = ?", (cmd,)).fetchone()
        return 0 if row is None else int(row["attempts"])

    def waits_on(self, cmd: str) -> None:
        """Say that work on a command was left in good order, to go on later: that was no attempt that failed."""
        with self._file.transaction():
            self._db.execute("UPDATE command SET attempts = 0 WHERE cmd = ?", (cmd,))

    def want_cancel(self, cmd: str, by: str) -> None:
        """Keep that a started command is to stop, so that a crash meanwhile does not lose the wish.

        Args:
            cmd: the command.
            by: the cancel command.
        """
        with self._file.transaction():
            self._db.execute(
                "UPDATE command SET cancel = coalesce(cancel, ?) WHERE cmd = ? AND state = 'started'",
                (by, cmd),
            )

    def order_restart(self, cmd: str, at_ms: int) -> None:
        """Write that the restart is being ordered; nothing may order it before this has returned.

        Raises:
            JournalError: it was ordered or cancelled before, or the disk refused.
        """
        failpoint("reboot.before_ordered")
        with self._file.transaction():
            changed = self._db.execute(
                "UPDATE command SET ordered_ms = ?"
                " WHERE cmd = ? AND state = 'started' AND ordered_ms IS NULL AND cancel IS NULL",
                (at_ms, cmd),
            )
            self._one(changed.rowcount, cmd, "ordered")
            failpoint("reboot.within_ordered")
        failpoint("reboot.after_ordered")

    def keep_plan(self, digest: str, manager: str, plan: bytes, at: datetime) -> None:
        """Keep the bytes of a plan as first written; the oldest beyond PLANS_MAX go."""
        with self._file.transaction():
            self._db.execute(
                "INSERT INTO plan (digest, manager, plan, made) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET made = excluded.made",
                (digest, manager, plan, format_timestamp(at)),
            )
            self._db.execute(
                "DELETE FROM plan WHERE digest NOT IN (SELECT digest FROM plan ORDER BY made DESC, digest LIMIT ?)",
                (PLANS_MAX,),
            )

    def plan(self, digest: str) -> bytes | None:
        """Return the bytes of a plan this host made, None if it did not or they are gone."""
        row = self._db.execute("SELECT plan FROM plan WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else bytes(row["plan"])

    def prune(self, now: datetime) -> int:
        """Forget what is done and KEEP past its `exp`; raise the floor first, in the same transaction.

        Returns:
            How many rows were forgotten.
        """
        limit = format_timestamp(now - KEEP)
        with self._file.transaction():
            row = self._db.execute(
                "SELECT max(seq) AS top, count(*) AS n FROM command WHERE state = 'done' AND exp < ?",
                (limit,),
            ).fetchone()
            if not row["n"]:
                return 0
            self._file.put(_FLOOR, str(max(self.floor, int(row["top"]))).encode())
            self._db.execute("DELETE FROM command WHERE state = 'done' AND exp < ?", (limit,))
            return int(row["n"])

    def _one(self, changed: int, cmd: str, step: str) -> None:
        if changed != 1:
            raise JournalError("journal_order", f"command {cmd} cannot become {step}")

    def _entry(self, row: dict[str, object]) -> Entry:
        values = dict(row)
        exp = parse_timestamp(str(values.pop("exp")))
        state = JournalState(str(values.pop("state")))
        started, finished = values.pop("started"), values.pop("finished")
        return Entry(
            **values,  # type: ignore[arg-type]
            exp=exp,
            state=state,
            started=_time(None if started is None else str(started)),
            finished=_time(None if finished is None else str(finished)),
        )
