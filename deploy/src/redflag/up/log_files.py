"""Log files that cannot fill the disk, and lines cut out of a stream that may never end one."""

import os
from pathlib import Path

FILE_MAX_BYTES = 5 * 1024 * 1024
FILES_KEPT = 3  # the current one and its predecessors, together at most 15 MiB for a program
LINE_MAX_BYTES = 64 * 1024  # what is longer goes on as another line


class RotatingLog:
    """Appends lines to a file; a full one becomes `<name>.1`, and so on; the oldest is removed.

    A line that cannot be written (the disk is full) is dropped and counted; nothing is raised, because what is
    logged goes on. The next line that can be written is preceded by the number of those that are missing.
    """

    def __init__(self, path: Path, *, max_bytes: int = FILE_MAX_BYTES, files: int = FILES_KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._number: int | None = None
        self._size = 0
        self.dropped = 0  # lines since the last one written

    def write(self, line: str) -> None:
        """Append one line."""
        data = line.encode(errors="replace") + b"\n"
        try:
            self._append(data)
        except OSError:
            self.dropped += 1
            self.close()

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def _append(self, data: bytes) -> None:
        if self._number is not None and self._size + len(data) > self._max_bytes:
            self._rotate()
        if self._number is None:
            self._number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._number).st_size
            if self._size + len(data) > self._max_bytes and self._size > 0:
                self._rotate()
                return self._append(data)
        if self.dropped:
            data = f"[{self.dropped} lines before this one could not be written]\n".encode() + data
        while data:
            written = os.write(self._number, data)
            self._size += written
            data = data[written:]
        self.dropped = 0
        return None

    def _rotate(self) -> None:
        self.close()
        for age in range(self._files - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{age}")
            newer = self._path if age == 1 else self._path.with_name(f"{self._path.name}.{age - 1}")
            if newer.exists():
                newer.replace(older)


class LineSplitter:
    """Cuts a stream of bytes into lines of at most `LINE_MAX_BYTES`."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) >= LINE_MAX_BYTES:
            lines.append(self._rest[:LINE_MAX_BYTES])
            self._rest = self._rest[LINE_MAX_BYTES:]
        return [line.decode(errors="replace").rstrip("\r") for line in lines if line]

    def flush(self) -> list[str]:
        """Return what is left without its end of line."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []
