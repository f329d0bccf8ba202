"""A program's output within bounds: the first and the last part are kept, what lies between is counted.

Rules only. A report carries at most the first and the last 64 KiB of each stream (docs/protocol.md section 6),
because the reason of a failure stands at one of the two ends.
"""

from collections import deque


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
        """What was kept, with a marker where bytes are missing; bytes that are not UTF-8 are replaced."""
        tail = b"".join(self._tail)[-self._tail_limit :] if self._tail_limit else b""
        if not self.dropped:
            return (bytes(self._head) + tail).decode("utf-8", "replace")
        marker = f"\n[... {self.dropped} bytes left out ...]\n"
        return self._head.decode("utf-8", "replace") + marker + tail.decode("utf-8", "replace")
