"""The reports that are not confirmed yet, of both keys, and the numbers they bear.

Guarantees (docs/protocol.md 6):
1. `rseq` is contiguous from 1 over both keys: a number is handed out and its row written in one transaction.
2. `prev` is the digest of the report before it of the same key. So at most one report of the agent key is under way
   (reserved, not committed) at a time; its row stays until bytes are committed to it, whatever crashes meanwhile.
3. A row leaves only when the server confirmed its number.
4. Reports of the helper about things that are no execution wait as `pending` until the network process has signed
   them; the pending row leaves in the transaction that commits the report.
5. An inventory that `InventoryMemory` keeps beside its report gets that report's number, and is confirmed with it, in
   the same transactions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from redflag_ops.logging import get_logger
from redflag_scanner_agent.errors import JournalError, SpoolFullError
from redflag_scanner_agent.failpoints import failpoint
from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire import limits
from redflag_wire.report import BodyRef, CommandState, ReportKind

SPOOL_MAX_ROWS = 10_000
SPOOL_MAX_BYTES = 64 * 1024 * 1024  # of bodies that wait
PENDING_MAX = 256
ROOM_ROWS = 16  # kept free so that commands already received can be finished and reported
_FRAME_OVERHEAD = 8  # bytes of the two lengths around each report

log = get_logger()

_LAST = "rseq"
_PREV = {"agent": "prev_agent", "receipt": "prev_receipt"}
_MARK = "mark:"


@dataclass(frozen=True, slots=True)
class Place:
    """A report's place in the chain.

    Attributes:
        report: its id, canonical text.
        rseq: its number.
        prev: digest of the one before it of the same key.
    """

    report: str
    rseq: int
    prev: str | None


@dataclass(frozen=True, slots=True)
class Signed:
    """A report as it travels.

    Attributes:
        envelope: its bytes.
        digest: of its payload.
    """

    envelope: bytes
    digest: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A body that waits for the agent key's signature.

    Attributes:
        id: names it in `commit`.
        kind: of the report.
        body: sealed.
        ref: names the sealed bytes.
    """

    id: int
    kind: ReportKind
    body: bytes
    ref: BodyRef


class Spool:
    """The reports in a journal file.

    Args:
        file: the open file, shared with the journal so that a step and its report are one transaction.
        changed: called after something became ready to send or to sign; may be called within a transaction.
    """

    def __init__(self, file: JournalFile, changed: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._db = file.db
        self._changed = changed

    @property
    def last_rseq(self) -> int:
        """The highest number handed out."""
        value = self._file.get(_LAST)
        return 0 if value is None else int(value)

    def has_room(self) -> bool:
        """Whether reports of a new command can be kept."""
        row = self._db.execute(
            "SELECT count(*) AS n, coalesce(sum(length(body)), 0) AS b FROM report"
        ).fetchone()
        return int(row["n"]) < SPOOL_MAX_ROWS - ROOM_ROWS and int(row["b"]) < SPOOL_MAX_BYTES

    def add_receipt(
        self,
        report: str,
        sign: Callable[[Place], Signed],
        *,
        cmd: str,
        state: CommandState,
        body: bytes = b"",
    ) -> int:
        """Number, sign and keep a report of the receipt key; return its number.

        Args:
            report: its id.
            sign: makes the envelope of its place.
            cmd: the command it is about.
            state: what it says of it.
            body: sealed, empty for none.
        """
        with self._file.transaction():
            place = self._take("receipt", report, cmd, state, body)
            self._fill(place, "receipt", sign(place))
        self._changed()
        return place.rseq

    def waits(self, cmd: str, state: CommandState) -> bool:
        """Whether a report of this word about the command is not confirmed yet."""
        row = self._db.execute(
            "SELECT 1 FROM report WHERE cmd = ? AND state = ? LIMIT 1", (cmd, state.value)
        ).fetchone()
        return row is not None

    def reserved(self) -> Place | None:
        """The report of the agent key that has a number and no bytes yet."""
        row = self._db.execute(
            "SELECT report, rseq, prev FROM report WHERE envelope IS NULL ORDER BY rseq LIMIT 1"
        ).fetchone()
        return None if row is None else Place(row["report"], int(row["rseq"]), row["prev"])

    def reserve(self, report: str) -> Place:
        """Hand out the next place of the agent key; asking again with the same id gives the same place.

        Raises:
            JournalError: `reservation_open`: another id has a place and no bytes yet.
            SpoolFullError: the spool is full.
        """
        with self._file.transaction():
            open_place = self.reserved()
            if open_place is not None:
                if open_place.report == report:
                    return open_place
                raise JournalError(
                    "reservation_open", f"report {open_place.report} has a number and no bytes"
                )
            if not self.has_room():
                raise SpoolFullError("spool_full", "too many reports wait for the server")
            place = self._take("agent", report, None, None, b"")
        failpoint("spool.after_reserve")
        return place

    def commit(
        self,
        place: Place,
        signed: Signed,
        body: bytes,
        *,
        mark: tuple[str, str] | None = None,
        pending: int | None = None,
    ) -> None:
        """Put the bytes into a reserved place.

        Args:
            place: the reservation; must be the open one.
            signed: the report.
            body: sealed, empty for none.
            mark: a name and value kept with it, so that what was reported is known after a restart.
            pending: the pending row it fulfils.

        Raises:
            JournalError: `reservation_none`: there is no such open place.
        """
        failpoint("spool.before_commit")
        with self._file.transaction():
            if self.reserved() != place:
                raise JournalError("reservation_none", f"report {place.report} has no open place")
            self._db.execute("UPDATE report SET body = ? WHERE rseq = ?", (body, place.rseq))
            self._fill(place, "agent", signed)
            if mark is not None:
                self._file.put(_MARK + mark[0], mark[1].encode())
            if pending is not None:
                self._db.execute("DELETE FROM pending WHERE id = ?", (pending,))
                self._db.execute(
                    "UPDATE inventory SET rseq = ?, pending = NULL WHERE pending = ?", (place.rseq, pending)
                )
        self._changed()

    def mark(self, name: str) -> str | None:
        """Return the value last committed under a name."""
        value = self._file.get(_MARK + name)
        return None if value is None else value.decode()

    def add_pending(self, kind: ReportKind, body: bytes, ref: BodyRef) -> int:
        """Keep a body for the network process to sign; return what names it, 0 when too many wait and it is dropped."""
        with self._file.transaction():
            waiting = self._db.execute("SELECT count(*) AS n FROM pending").fetchone()["n"]
            if waiting >= PENDING_MAX:
                log.warning("spool.pending_full", kind=kind.value, waiting=waiting)
                return 0
            added = self._db.execute(
                "INSERT INTO pending (kind, body, body_ref) VALUES (?, ?, ?)",
                (kind.value, body, ref.model_dump_json()),
            )
        self._changed()
        return int(added.lastrowid or 0)

    def first_pending(self) -> Pending | None:
        """Return the oldest body that waits for a signature."""
        row = self._db.execute("SELECT id, kind, body, body_ref FROM pending ORDER BY id LIMIT 1").fetchone()
        if row is None:
            return None
        ref = BodyRef.model_validate_json(row["body_ref"])
        return Pending(int(row["id"]), ReportKind(row["kind"]), bytes(row["body"]), ref)

    def batch(
        self, after: int, max_bytes: int = limits.REPORTS_MAX_BYTES
    ) -> tuple[list[tuple[bytes, bytes]], int]:
        """Return signed reports with numbers above `after`, as many as fit a batch, and the last one's number.

        Stops before a place without bytes: what is sent has no gaps.
        """
        reports: list[tuple[bytes, bytes]] = []
        size, last = 0, after
        rows = self._db.execute(
            "SELECT rseq, envelope, body FROM report WHERE rseq > ? ORDER BY rseq LIMIT ?",
            (after, limits.REPORTS_MAX_COUNT),
        )
        for row in rows:
            if row["envelope"] is None:
                break
            size += len(row["envelope"]) + len(row["body"]) + _FRAME_OVERHEAD
            if size > max_bytes:
                break
            reports.append((bytes(row["envelope"]), bytes(row["body"])))
            last = int(row["rseq"])
        return reports, last

    def confirm(self, rseq: int) -> int:
        """Let go of everything up to a number the server has in its database; return how many rows left.

        A number that was never handed out is not believed.
        """
        if rseq > self.last_rseq:
            return 0
        with self._file.transaction():
            gone = self._db.execute("DELETE FROM report WHERE rseq <= ? AND envelope IS NOT NULL", (rseq,))
            self._db.execute("UPDATE inventory SET confirmed = 1 WHERE rseq <= ? AND confirmed = 0", (rseq,))
            return gone.rowcount

    def _take(
        self, signer: str, report: str, cmd: str | None, state: CommandState | None, body: bytes
    ) -> Place:
        rseq = self.last_rseq + 1
        prev = self._file.get(_PREV[signer])
        place = Place(report, rseq, None if prev is None else prev.decode())
        self._db.execute(
            "INSERT INTO report (rseq, report, signer, prev, cmd, state, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (rseq, report, signer, place.prev, cmd, None if state is None else state.value, body),
        )
        self._file.put(_LAST, str(rseq).encode())
        return place

    def _fill(self, place: Place, signer: str, signed: Signed) -> None:
        self._db.execute("UPDATE report SET envelope = ? WHERE rseq = ?", (signed.envelope, place.rseq))
        self._file.put(_PREV[signer], signed.digest.encode())
