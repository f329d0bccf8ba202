"""Commands that were cancelled before they came (docs/protocol.md 5).

A cancel may overtake its target. The target's id is then remembered for as long as any command may live, and the
target is refused as cancelled when it comes.

Guarantees: an id returned from `bury` is on the disk; there are never more than TOMBSTONES_MAX, the oldest go first.
"""

from datetime import datetime, timedelta

from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire.command import LONGEST_LIFE
from redflag_wire.timestamps import format_timestamp, parse_timestamp

TOMBSTONES_MAX = 1_024
LIFE = max(LONGEST_LIFE.values()) + timedelta(hours=1)
"""How long an id is remembered: the longest life of any command, and an hour for a target signed a little later."""


class Tombstones:
    """The ids in a journal file.

    Args:
        file: the open file, shared with the journal.
    """

    def __init__(self, file: JournalFile) -> None:
        self._file = file
        self._db = file.db

    def bury(self, cmd: str, now: datetime) -> None:
        """Remember an id until LIFE from now, trusted time.

        Raises:
            JournalError: the disk refused.
        """
        with self._file.transaction():
            self._db.execute(
                "INSERT INTO tombstone (cmd, until) VALUES (?, ?)"
                " ON CONFLICT (cmd) DO UPDATE SET until = excluded.until",
                (cmd, format_timestamp(now + LIFE)),
            )
            self._db.execute(
                "DELETE FROM tombstone WHERE cmd NOT IN"
                " (SELECT cmd FROM tombstone ORDER BY until DESC, cmd LIMIT ?)",
                (TOMBSTONES_MAX,),
            )

    def holds(self, cmd: str, now: datetime | None) -> bool:
        """Whether an id is remembered; without trusted time every one is that was ever buried."""
        row = self._db.execute("SELECT until FROM tombstone WHERE cmd = ?", (cmd,)).fetchone()
        return row is not None and (now is None or now <= parse_timestamp(row["until"]))

    def prune(self, now: datetime) -> int:
        """Forget what has passed; return how many that were."""
        with self._file.transaction():
            gone = self._db.execute("DELETE FROM tombstone WHERE until < ?", (format_timestamp(now),))
            return gone.rowcount
