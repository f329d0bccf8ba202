"""Errors of the agent: one family, each with a short code, a detail for people and the exit code it ends with."""

from typing import ClassVar

# The codes of `redflag` where both have one; a code never changes its meaning. When you add one, add it to EXIT_CODES
# and to README.md.
EXIT_OK = 0
EXIT_FAILED = 1  # anything that has no code of its own; a supervisor may start the agent again
EXIT_USAGE = 2  # wrong use, or a setting is missing or wrong; the same as every other program's
EXIT_NOT_ENROLLED = 3  # there is no identity and nothing to enrol with
EXIT_UNREACHABLE = 4  # the server did not answer, or not now
EXIT_REFUSED = 5  # the server, or a check of what it showed, refused: trying again cannot help
EXIT_PACKAGES = 6  # a package manager could not do what was asked
EXIT_INTERRUPTED = 130  # as shells report Ctrl-C
EXIT_PIPE_CLOSED = 141  # as shells report a reader that went away, for example head

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong use or setting, 3 not enrolled, 4 server not reached, "
    "5 refused by the server, 6 a package manager could not do it, 130 Ctrl-C."
)
"""One line for --help."""


class AgentError(Exception):
    """Something the agent was to do could not be done.

    Attributes:
        code: short snake_case reason, for logs and counters.
        detail: one line for people; says what to do where that is known.
    """

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class NotDurableError(AgentError):
    """A file could not be made durable; what stood there before still stands."""


class StateNotPermittedError(NotDurableError):
    """The state directory, or a file in it, is another account's."""


class JournalError(AgentError):
    """The journal cannot be used, or was asked for a step that does not follow from the one before."""


class SpoolFullError(JournalError):
    """The spool of unsent reports has reached its bound; nothing new is begun until the server has taken some."""


class IpcError(AgentError):
    """The other of the agent's two processes sent what no honest one sends, or is gone."""


class HelperRefusedError(AgentError):
    """The helper refused a request of the network process; code and detail are the helper's."""


class HostFactsError(AgentError):
    """A fact about the host that the agent cannot do without is missing."""

    exit_code = EXIT_USAGE


class NotEnrolledError(AgentError):
    """The host has no identity yet."""

    exit_code = EXIT_NOT_ENROLLED


class EnrolmentRefusedError(AgentError):
    """The server, or a check of its answer, refused the enrolment; trying again cannot help."""

    exit_code = EXIT_REFUSED


class ServerUnreachableError(AgentError):
    """The server did not answer, or answered that it cannot now; trying again later can help.

    Attributes:
        retry_after_s: seconds the server asked to wait, None if it did not.
    """

    exit_code = EXIT_UNREACHABLE

    def __init__(self, code: str, detail: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(code, detail)


class RequestRefusedByServerError(AgentError):
    """The server answered a request with a final refusal.

    Attributes:
        status: the HTTP status.
    """

    exit_code = EXIT_REFUSED

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        super().__init__(code, detail)
