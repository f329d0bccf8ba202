"""The processes of a host, from /proc: how many, and which hold the most memory."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redflag_scanner_agent.figures.reading import clean, read_text, whole
from redflag_wire import limits
from redflag_wire.system_bodies import Process

PROCESSES_MAX = 100_000  # looked at; a host with more is told of these
STAT_MAX_BYTES = 4_096
# Fields of /proc/PID/stat after the name in brackets, counted from 0 (proc(5) counts from 3).
_STATE, _UTIME, _STIME, _RSS = 0, 11, 12, 21


@dataclass(frozen=True, slots=True)
class Processes:
    """What was seen.

    Attributes:
        total, running, zombie: counts; None when /proc cannot be read.
        top: those with the most memory, the largest first.
    """

    total: int | None
    running: int | None
    zombie: int | None
    top: list[Process]


def collect(proc: Path, *, page_bytes: int, ticks_per_s: int) -> Processes:
    """Look at every process once; one that ends meanwhile is left out.

    Args:
        proc: where /proc is mounted.
        page_bytes: of memory.
        ticks_per_s: of processor time.
    """
    total = running = zombie = 0
    top: list[tuple[int, int, Process]] = []
    try:
        for state, process in _each(proc, page_bytes, ticks_per_s):
            total += 1
            running += state == "R"
            zombie += state == "Z"
            one = (process.rss_bytes, -process.pid, process)
            if len(top) < limits.TOP_PROCESSES_MAX:
                heapq.heappush(top, one)
            else:
                heapq.heappushpop(top, one)
    except OSError:
        return Processes(None, None, None, [])
    return Processes(total, running, zombie, [process for _, _, process in sorted(top, reverse=True)])


def _each(proc: Path, page_bytes: int, ticks_per_s: int) -> Iterator[tuple[str, Process]]:
    seen = 0
    with os.scandir(proc) as entries:
        for entry in entries:
            pid = whole(entry.name)
            if pid is None:
                continue
            seen += 1
            if seen > PROCESSES_MAX:
                return
            found = parse_stat(
                read_text(proc / entry.name / "stat", STAT_MAX_BYTES), pid, page_bytes, ticks_per_s
            )
            if found is not None:
                yield found


def parse_stat(text: str | None, pid: int, page_bytes: int, ticks_per_s: int) -> tuple[str, Process] | None:
    """Return state and figures of one line of /proc/PID/stat, None for what is none.

    The name may hold spaces, brackets and line feeds; it ends at the last closing bracket.
    """
    if text is None or "(" not in text or ")" not in text:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 1 :].split()
    if len(fields) <= _RSS:
        return None
    utime, stime, rss = whole(fields[_UTIME]), whole(fields[_STIME]), whole(fields[_RSS])
    if utime is None or stime is None or rss is None:
        return None
    process = Process(
        pid=pid,
        name=clean(name),
        rss_bytes=min(rss * page_bytes, limits.INTEGER_LIMIT - 1),
        cpu_ms=min((utime + stime) * 1000 // ticks_per_s, limits.INTEGER_LIMIT - 1),
    )
    return fields[_STATE], process
