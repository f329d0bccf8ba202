"""Why an embedded server cannot run. Every text is one line for the person who started it."""

from pathlib import Path


class EmbeddedServerError(Exception):
    """An embedded server cannot be started."""


class BinaryMissingError(EmbeddedServerError):
    """A server's program is not where it should be."""

    def __init__(self, program: str, looked: str, setting: str) -> None:
        super().__init__(f"no {program} found in {looked}; install it, or name its place in {setting}")
        self.program = program
        self.setting = setting


class NoAccountError(EmbeddedServerError):
    """PostgreSQL refuses to run as root, and there is no account to run it as."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL does not run as root, and neither 'postgres' nor 'nobody' is an account here"
        )


class UnreachablePathError(EmbeddedServerError):
    """A directory above the data is closed to the account the server runs as."""

    def __init__(self, path: Path, closed: Path, account: str) -> None:
        super().__init__(
            f"the account '{account}' cannot reach {path}, because {closed} is closed to others; "
            "choose another directory with --data"
        )
        self.path = path
        self.closed = closed
        self.account = account


class InitialisationFailedError(EmbeddedServerError):
    """initdb said no."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL's data directory could not be made: {reason}")
        self.reason = reason


class ServerDiedError(EmbeddedServerError):
    """A server ended, or did not become ready in time."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"{server} did not start: {reason}")
        self.server = server
        self.reason = reason
