"""Steps that must become durable, over a disk that is full for a while.

What was done on the host must not be forgotten because its disk is full: the step is tried again until there is room
or the helper is told to stop.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from redflag_ops.logging import get_logger
from redflag_scanner_agent.errors import JournalError

DISK_RETRY_FIRST_S = 1.0  # seconds until a step that found the disk full is tried again
DISK_RETRY_MOST_S = 30.0

Result = TypeVar("Result")

log = get_logger()


class DiskPatience:
    """Waits for room on the disk.

    Args:
        told_to_stop: ends the waiting.
    """

    def __init__(self, told_to_stop: asyncio.Event) -> None:
        self._told_to_stop = told_to_stop

    async def durably(self, step: Callable[[], Result]) -> Result:
        """Make a step durable. Between two tries other things go on, so it must look anew at what it builds on.

        Args:
            step: writes to the journal, all or nothing.

        Raises:
            JournalError: the journal is damaged, the step does not follow, or the helper is told to stop.
        """
        wait_s = DISK_RETRY_FIRST_S
        while True:
            try:
                return step()
            except JournalError as error:
                if error.code != "journal_write" or self._told_to_stop.is_set():
                    raise
                log.error("journal.waits_for_disk", detail=error.detail, again_s=wait_s)  # noqa: TRY400
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), wait_s)
            wait_s = min(wait_s * 2, DISK_RETRY_MOST_S)
