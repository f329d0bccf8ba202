"""What a command says when it cannot do what it was asked: one line, what to do, and the exit code."""

from collections.abc import Mapping
from typing import Any

from redflag.cli.exit_codes import ExitCode


class CliError(Exception):
    """A command ends here.

    Attributes:
        message: what is wrong, one line.
        exit_code: what the process ends with.
        hint: what to do about it, or None.
        code: stable snake case name; the API's problem code where there is one.
        data: what else a script may want to know.
    """

    def __init__(
        self,
        message: str,
        exit_code: ExitCode,
        *,
        hint: str | None = None,
        code: str = "failed",
        data: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint
        self.code = code
        self.data = dict(data or {})
