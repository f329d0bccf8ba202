"""Why `redflag up` cannot go on. Every text is one line for the person at the terminal."""

from pathlib import Path

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_RUNNING = 3


class UpError(Exception):
    """`redflag up` cannot go on; the text says why and what to do."""

    exit_code = EXIT_FAILED


class DataDirError(UpError):
    """The data directory cannot be used."""

    exit_code = EXIT_USAGE

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the data directory {path} cannot be used: {reason}; choose another with --data")
        self.path = path
        self.reason = reason


class SettingError(UpError):
    """An option or a setting of the environment is not usable."""

    exit_code = EXIT_USAGE


class AlreadyRunningError(UpError):
    """Another `redflag up` holds the data directory."""

    exit_code = EXIT_RUNNING

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another redflag up" if pid is None else f"another redflag up (pid {pid})"
        super().__init__(
            f"{who} already runs on {path}; stop it first, or choose another directory with --data"
        )
        self.path = path
        self.pid = pid


class PortTakenError(UpError):
    """A port that must stay the same is in use."""

    def __init__(self, port: int, what: str, option: str) -> None:
        super().__init__(
            f"port {port} for the {what} is in use by another program; "
            f"choose another with {option} PORT (0 takes a free one)"
        )
        self.port = port
        self.option = option


class StepFailedError(UpError):
    """A step of the start failed."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


class ProgramFailedError(UpError):
    """A program keeps ending, or does not become ready."""

    def __init__(self, name: str, reason: str, last_lines: tuple[str, ...], log: Path) -> None:
        said = "".join(f"\n    {line}" for line in last_lines)
        super().__init__(f"{name} {reason}; its last words (more in {log}):{said or ' none'}")
        self.name = name
        self.reason = reason
        self.last_lines = last_lines
        self.log = log


class LeftoverError(UpError):
    """A process of the last run does not end."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(f"{name} of the last run (pid {pid}) does not end, not even when killed")
        self.name = name
        self.pid = pid
