"""Where the head of a request ends, and whether it is too large. Rules only; the parser proper is aiohttp's.

A head is what comes before the first empty line. Line ends before it are skipped, as the parser skips them: otherwise
two of them would pass for a head that is complete.
"""

from enum import Enum
from typing import Final

HEAD_MAX_BYTES: Final = 16 * 1024
_END: Final = b"\r\n\r\n"
_KEPT: Final = len(_END) - 1


class Head(Enum):
    """What is known of a head."""

    NOTHING = "nothing"  # not a byte of it is there
    OPEN = "open"  # it has begun
    WHOLE = "whole"  # it is complete; what followed belongs to the body
    TOO_LARGE = "too_large"


class RequestHead:
    """One head as its bytes come in.

    Args:
        limit: bytes it may have, the empty line included.
    """

    __slots__ = ("_limit", "_size", "_tail", "state")

    def __init__(self, limit: int = HEAD_MAX_BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._tail = b""
        self.state = Head.NOTHING

    def feed(self, data: bytes) -> Head:
        """Take the next bytes; return what is known now."""
        if self.state is Head.NOTHING:
            skipped = data.lstrip(b"\r\n")
            self._size += len(data) - len(skipped)
            data = skipped
            if data:
                self.state = Head.OPEN
        if self.state is Head.OPEN:
            joined = self._tail + data
            at = joined.find(_END)
            length = len(data) if at < 0 else at + len(_END) - len(self._tail)
            self._size += length
            self._tail = joined[-_KEPT:]
            if at >= 0:
                self.state = Head.WHOLE
        if self._size > self._limit:
            self.state = Head.TOO_LARGE
        return self.state
