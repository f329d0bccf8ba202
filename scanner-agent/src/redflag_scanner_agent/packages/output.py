"""A program's output within bounds: the first and the last part are kept, what lies between is counted.

Rules only. A report carries at most the first and the last 64 KiB of each stream (docs/protocol.md section 6),
because the reason of a failure stands at one of the two ends.
"""

import re
import unicodedata
from collections import deque

from redflag_wire.limits import LINE_MAX_BYTES, OUTPUT_KEEP_BYTES

# The signs that the wire refuses in a line (redflag_wire.fields): control, direction and separator signs.
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")


def one_line(text: str, max_bytes: int = LINE_MAX_BYTES) -> str:
    """`text` as the wire takes a line: in normal form C, what would break or reorder a line replaced by blanks."""
    flat = unicodedata.normalize("NFC", _BREAKING.sub(" ", text).strip())
    return flat.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def fitted(text: str) -> str:
    """`text` within the bound of one stream in a report, its middle left out if need be."""
    keeper = OutputKeeper(OUTPUT_KEEP_BYTES, OUTPUT_KEEP_BYTES)
    keeper.feed(text.encode("utf-8", "replace"))
    return keeper.text()


class OutputKeeper:
    """Takes a stream piece by piece and keeps its first `head` and last `tail` bytes.

    Memory stays below head + tail + one piece, however long the stream is.
    """

    def __init__(self, head: int, tail: int) -> None:
        self._head_limit = head
        self._tail_limit = tail
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_length = 0
        self.total = 0  # bytes seen

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the stream."""
        self.total += len(piece)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if not piece or not self._tail_limit:
            return
        self._tail.append(piece)
        self._tail_length += len(piece)
        while self._tail_length - len(self._tail[0]) >= self._tail_limit:
            self._tail_length -= len(self._tail.popleft())

    @property
    def dropped(self) -> int:
        """How many bytes between the two kept parts are gone."""
        return max(0, self.total - self._head_limit - self._tail_limit)

    def text(self) -> str:
        """What was kept, with a marker where bytes are missing; NUL and what is not UTF-8 become question marks.

        One sign for each byte, so that the text never takes more bytes than were kept.
        """
        tail = b"".join(self._tail)[-self._tail_limit :] if self._tail_limit else b""
        if not self.dropped:
            return _text(bytes(self._head) + tail)
        marker = f"\n[... {self.dropped} bytes left out ...]\n"
        return _text(bytes(self._head)) + marker + _text(tail)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\ufffd", "?").replace("\0", "?")
