"""What the process ends with, for scripts: a code never changes its meaning."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes. When you add one, add it to `HELP` and to README.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    REFUSED = 5
    CONFLICT = 6
    TIMED_OUT = 7
    INTERRUPTED = 130  # as shells report Ctrl-C
    PIPE_CLOSED = 141  # as shells report a reader that went away, for example head


HELP = (
    "Exit codes: 0 done, 1 failed on a host or a check found a fault, 2 wrong use, 3 not found, "
    "4 server not reached, 5 refused, 6 conflict, 7 timed out waiting, 130 Ctrl-C."
)
"""One line for --help."""
