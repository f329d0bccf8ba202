"""When this host last looked at each of its subsystems, and with what result; for `redflag-agent status`."""

import json
from collections.abc import Mapping
from datetime import datetime

from redflag_scanner_agent.journal_file import JournalFile
from redflag_wire.timestamps import format_timestamp

PREFIX = "look:"


class Looks:
    """The last looks in the journal file; bounded by the subsystems there are.

    Args:
        file: the open file.
    """

    def __init__(self, file: JournalFile) -> None:
        self._file = file

    def keep(self, looked: Mapping[str, str | None], at: datetime | None) -> None:
        """Keep what was looked at now, in the surrounding transaction if there is one.

        Args:
            looked: subsystems, with the reason where the look failed.
            at: trusted time, None where there is none.
        """
        for subsystem, code in looked.items():
            found = {"at": None if at is None else format_timestamp(at), "code": code}
            self._file.put(PREFIX + subsystem, json.dumps(found).encode())


def parse(data: bytes) -> dict[str, str | None]:
    """Return a stored look as `at` and `code`; both None for what cannot be read."""
    try:
        found = json.loads(data)
        return {name: None if found[name] is None else str(found[name]) for name in ("at", "code")}
    except (ValueError, KeyError, TypeError):
        return {"at": None, "code": None}
