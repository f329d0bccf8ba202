"""What aiohttp says about requests it could not read: counted, not written.

It logs a stack for every head that is no HTTP. Anybody can send those without end, so they become a number; whatever
else it has to say goes to the log as it is.
"""

import logging
from collections.abc import Callable
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

NAME: Final = "redflag_gateway.http"


class _Unreadable(logging.Filter):
    def __init__(self, count: Callable[[], None]) -> None:
        super().__init__()
        self._count = count

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            self._count()
            return False
        return True


def http_logger(count: Callable[[], None]) -> logging.Logger:
    """Return the logger for aiohttp's protocol.

    Args:
        count: called for each request that could not be read.
    """
    logger = logging.Logger(NAME)  # noqa: LOG001 - one for each gateway, which counts its own
    logger.parent = logging.getLogger()
    logger.addFilter(_Unreadable(count))
    return logger
