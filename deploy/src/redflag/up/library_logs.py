"""What libraries say goes to the log of `up`, never to the terminal: a stack there helps nobody."""

import logging
import sys
import traceback
from typing import TYPE_CHECKING

from redflag.up.log_files import RotatingLog

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


class _ToLog(logging.Handler):
    def __init__(self, log: RotatingLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write(f"{record.levelname.lower()}: {record.name}: {self.format(record)}")


def keep_in(log: RotatingLog) -> None:
    """Send records of the standard `logging` module, warnings and unraisable errors to `log` from now on."""
    logging.getLogger().handlers[:] = [_ToLog(log)]
    logging.captureWarnings(capture=True)

    def unraisable(args: "UnraisableHookArgs") -> None:
        told = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        log.write("".join(told).rstrip())

    sys.unraisablehook = unraisable
