"""What the exit code of a command means; scripts may depend on it."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The closed list."""

    OK = 0
    FAILED = 1  # the operation failed on a host, or something unforeseen did
    USAGE = 2  # the command line is wrong
    NOT_FOUND = 3  # no such host, command, plan or update
    UNREACHABLE = 4  # no answer from the server, or one that says it cannot work now
    REFUSED = 5  # no key, a wrong one, or one that may not do this
    CONFLICT = 6  # already under way, not approved, not confirmed, outdated, nothing to do
    TIMED_OUT = 7  # `--wait` ended before the operation did


HELP = """
Exit codes: 0 done, 1 failed on a host, 2 wrong use, 3 not found, 4 server not reached, 5 refused, 6 conflict,
7 timed out while waiting.
"""
