"""Which process is which: identities that survive the reuse of process ids, and ending without a mistake.

A process id alone proves nothing: the kernel gives it out again. An identity is the id and the start time in
clock ticks since boot. Signals go through a pidfd that is opened before the identity is checked, so they reach
the process that was checked or nobody.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STATE, _STARTED = 0, 19  # fields of /proc/<pid>/stat after the name, proc(5) counts them from 3


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, beyond the life of its number."""

    pid: int
    started: int  # clock ticks since boot

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """Return the identity of the living process with this id; None if there is none, or only its zombie."""
        try:
            # The name is in parentheses and may hold anything, so the rest starts after the last one.
            fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        if fields[_STATE] in ("Z", "X"):
            return None
        return cls(pid, int(fields[_STARTED]))

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return ProcessIdentity.of(self.pid) == self

    def name(self) -> str:
        """Return the program's short name, empty when it is gone."""
        with contextlib.suppress(OSError):
            return (_PROC / str(self.pid) / "comm").read_text(errors="replace").strip()
        return ""

    def cwd(self) -> Path | None:
        """Return its working directory, None when it is gone or not ours to see."""
        with contextlib.suppress(OSError):
            return (_PROC / str(self.pid) / "cwd").readlink()
        return None

    def command_line(self) -> tuple[str, ...]:
        """Return its arguments, empty when it is gone."""
        with contextlib.suppress(OSError):
            text = (_PROC / str(self.pid) / "cmdline").read_bytes().decode(errors="replace")
            return tuple(text.removesuffix("\0").split("\0"))
        return ()


def all_processes() -> Iterator[ProcessIdentity]:
    """Yield every living process that can be seen."""
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            found = ProcessIdentity.of(int(entry.name))
            if found is not None:
                yield found


def end_processes(
    processes: Iterable[ProcessIdentity], signals: Sequence[tuple[signal.Signals, float]]
) -> list[ProcessIdentity]:
    """Send each signal in turn to those still running, waiting up to its seconds; return those that never ended.

    They need not be our children.
    """
    with contextlib.ExitStack() as stack:
        handles: dict[int, ProcessIdentity] = {}
        for process in processes:
            try:
                handle = os.pidfd_open(process.pid)
            except OSError:
                continue  # it is gone
            stack.callback(os.close, handle)
            if process.alive:
                handles[handle] = process
        for number, patience_s in signals:
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            _drop_ended(handles, time.monotonic() + patience_s)
            if not handles:
                break
        return list(handles.values())


def _drop_ended(handles: dict[int, ProcessIdentity], deadline: float) -> None:
    while handles:
        # A pidfd becomes readable when its process ends.
        ended, _, _ = select.select(list(handles), [], [], max(0.0, deadline - time.monotonic()))
        if not ended:
            return
        for handle in ended:
            del handles[handle]
