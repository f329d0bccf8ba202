"""The helper's one durable file: SQLite in WAL mode with synchronous=FULL, opened by one process at a time.

A transaction that has returned is on the disk (docs/protocol.md 5). The lock beside the file outlives no process:
a new helper waits until an old one has finished the action it has in hand.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from redflag_scanner_agent.errors import JournalError

SCHEMA_VERSION = 2
BUSY_TIMEOUT_MS = 5_000  # only `redflag-agent status` ever reads beside the helper
LOCK_POLL_S = 0.2

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE command (
    cmd TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    op TEXT,
    payload BLOB NOT NULL,
    exp TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'started', 'done')),
    boot_id TEXT,
    started TEXT,
    finished TEXT,
    result TEXT,
    code TEXT,
    plan_digest TEXT,
    body BLOB,
    body_ref TEXT
) STRICT;
CREATE INDEX command_open ON command (seq) WHERE state <> 'done';
CREATE TABLE plan (digest TEXT PRIMARY KEY, manager TEXT NOT NULL, plan BLOB NOT NULL, made TEXT NOT NULL) STRICT;
CREATE TABLE report (
    rseq INTEGER PRIMARY KEY,
    report TEXT NOT NULL UNIQUE,
    signer TEXT NOT NULL CHECK (signer IN ('agent', 'receipt')),
    prev TEXT,
    cmd TEXT,
    state TEXT,
    envelope BLOB,
    body BLOB
) STRICT;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    body_ref TEXT NOT NULL,
    mark TEXT
) STRICT;
"""

_SCHEMA_2 = """
ALTER TABLE command ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE command ADD COLUMN cancel TEXT;
ALTER TABLE command ADD COLUMN due_ms INTEGER;
ALTER TABLE command ADD COLUMN ordered_ms INTEGER;
CREATE TABLE tombstone (cmd TEXT PRIMARY KEY, until TEXT NOT NULL) STRICT;
CREATE TABLE inventory (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    manager TEXT NOT NULL,
    digest TEXT NOT NULL,
    rows BLOB NOT NULL,
    rseq INTEGER,
    pending INTEGER,
    confirmed INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

_STEPS = (_SCHEMA, _SCHEMA_2)
"""What leads from each version to the next; only ever added to, for files of older agents stay readable."""


class JournalFile:
    """An open journal file; hand it to `Journal` and `Spool`, which share its transactions.

    Args:
        path: the file; made with mode 0600 if it is not there.

    Raises:
        JournalError: it cannot be opened, is damaged, or was made by a newer agent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.close(handle)
            self.db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
            self.db.row_factory = sqlite3.Row
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.execute("PRAGMA foreign_keys=ON")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise JournalError("journal_open", f"cannot open the journal {path}: {error}") from error

    def _prepare(self) -> None:
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= SCHEMA_VERSION:
            self.db.close()
            raise JournalError(
                "journal_version", f"{self.path} was made by another version of the agent ({version})"
            )
        if version < SCHEMA_VERSION:
            with self.transaction():
                for step in _STEPS[version:]:
                    for statement in step.split(";\n"):
                        if statement.strip():
                            self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        fault = self.db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":
            self.db.close()
            raise JournalError("journal_damaged", f"{self.path} is damaged: {fault}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one durable step, or nothing of it.

        Nested use joins the outer transaction.

        Raises:
            JournalError: the disk is full or the file cannot be written; nothing was changed.
        """
        if self.db.in_transaction:
            yield
            return
        try:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
        except sqlite3.Error as error:
            raise JournalError("journal_write", f"cannot write the journal {self.path}: {error}") from error

    def _undo(self) -> None:
        # SQLite has undone some failures (a full disk) by itself already; a second ROLLBACK would be an error.
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def get(self, key: str) -> bytes | None:
        """Return a value kept beside the tables, None if there is none."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row["value"])

    def put(self, key: str, value: bytes) -> None:
        """Keep a value beside the tables; durable when the surrounding transaction is."""
        with self.transaction():
            self.db.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self.db.close()


def wait_for_lock(path: Path, *, give_up: Callable[[], bool], waiting: Callable[[], None]) -> int:
    """Take the lock that only one helper holds, and keep it until the process ends.

    Args:
        path: the lock file, made if it is not there.
        give_up: asked between two tries; true ends the waiting.
        waiting: called once if the lock is held by another.

    Returns:
        The descriptor that holds the lock.

    Raises:
        JournalError: `give_up` said so, or the file cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise JournalError("journal_lock", f"cannot open {path}: {error.strerror}") from error
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waiting()
                told = True
            if give_up():
                os.close(handle)
                raise JournalError("journal_lock", "another helper of this agent is still at work") from None
            time.sleep(LOCK_POLL_S)
        else:
            return handle
