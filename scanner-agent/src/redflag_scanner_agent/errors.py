"""Errors of the agent: one family, each with a short code, a detail for people and the exit code it ends with."""

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILED = 1  # anything that has no code of its own
EXIT_CONFIGURATION = 2  # a setting is missing or wrong; the same as every other program's
EXIT_NOT_ENROLLED = 3  # there is no identity and nothing to enrol with
EXIT_REFUSED = 4  # the server refused the token or the identity: trying again cannot help
EXIT_UNREACHABLE = 5  # the server did not answer
EXIT_PACKAGES = 6  # a package manager could not do what was asked


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

    exit_code = EXIT_CONFIGURATION


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
