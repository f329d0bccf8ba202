"""The last word with the server, on the disk, so that `redflag-agent status` can tell why nothing comes through.

Written when something changes and once in a while besides, never for every poll.
"""

import json
from datetime import datetime
from typing import Any, Final

from redflag_ops.logging import get_logger
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.errors import AgentError, NotDurableError
from redflag_wire.clock import Clock

CONTACT_FILE: Final = "contact.json"
WRITE_EVERY_S: Final = 600.0
DETAIL_MAX_CHARS: Final = 1_000

log = get_logger()


class Contact:
    """Keeps when the server answered last, and what went wrong since.

    Args:
        files: the network process's own directory.
        clock: the time.
    """

    def __init__(self, files: DurableDirectory, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._written: tuple[str | None, float] | None = None
        self._answered: datetime | None = _time(read_contact(files).get("answered_at"))

    def answered(self) -> None:
        """Note that the server answered."""
        self._answered = self._clock.now()
        self._write(None, None)

    def failed(self, code: str, detail: str) -> None:
        """Note why the server was not reached."""
        self._write(code, detail)

    def _write(self, code: str | None, detail: str | None) -> None:
        now = self._clock.monotonic()
        if self._written and self._written[0] == code and now - self._written[1] < WRITE_EVERY_S:
            return
        self._written = (code, now)
        found = {
            "answered_at": None if self._answered is None else self._answered.isoformat(),
            "failed_at": None if code is None else self._clock.now().isoformat(),
            "code": code,
            "detail": None if detail is None else detail[:DETAIL_MAX_CHARS],
        }
        try:
            self._files.write(CONTACT_FILE, json.dumps(found).encode())
        except NotDurableError as error:
            log.warning("contact.not_written", detail=error.detail)


def read_contact(files: DurableDirectory) -> dict[str, Any]:
    """Return what was written last; nothing where there is nothing, or nothing that can be read."""
    try:
        found = json.loads(files.read(CONTACT_FILE) or b"{}")
    except (AgentError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def contact_lines(found: dict[str, Any]) -> list[str]:
    """Return the contact as lines of `redflag-agent status`."""
    lines = []
    if found.get("answered_at"):
        lines.append(f"server answered   {found['answered_at']}")
    if found.get("code"):
        lines.append(
            f"server not reached since {found.get('failed_at')}: {found.get('detail')} ({found['code']})"
        )
    return lines


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
