"""Everything that can go wrong, as errors that say what happened, what to do and how the process ends.

Guarantees: each error has an exit code and a message for a person; text of a server is in it as it came, and is
made safe where it is printed.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redflag.cli.exit_codes import ExitCode

_NAMED_MAX: Final = 5  # packages or hosts named in one hint
_TYPED_MAX: Final = 20  # packages in a command to be typed
_ECHOED_MAX: Final = 80  # signs of a name that is said back


class CliError(Exception):
    """Base of the command line's errors.

    Attributes:
        exit_code: what the process ends with.
        message: what went wrong.
        hints: what to do, one line each.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hints: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)


class UsageRefusedError(CliError):
    """An option or argument makes no sense."""

    exit_code = ExitCode.USAGE


class NothingFoundError(CliError):
    """What was named is not there."""

    exit_code = ExitCode.NOT_FOUND


class ServerUnreachableError(CliError):
    """No server, or none that answers as RedFlag does."""

    exit_code = ExitCode.UNREACHABLE


class ConflictError(CliError):
    """The state of things forbids it."""

    exit_code = ExitCode.CONFLICT


class WaitTimedOutError(CliError):
    """What was waited for did not come to its end in the time given.

    Attributes:
        command_id: the command (or job); it goes on.
        state: where it stands.
    """

    exit_code = ExitCode.TIMED_OUT

    def __init__(
        self, command_id: str, state: str, timeout_s: float, *, what: str = "command", show: str | None = None
    ) -> None:
        super().__init__(
            f"after {timeout_s:g} s the {what} is {state}; it goes on",
            [show or f"redflag commands show {command_id}"],
        )
        self.command_id = command_id
        self.state = state


class ApiProblemError(CliError):
    """The server refused a request (RFC 9457 problem details).

    Attributes:
        status: HTTP status.
        code: the problem's stable code; empty when the answer had none.
        body: the whole problem.

    Args:
        host: the host the request named, for hints one can type as they stand.
    """

    def __init__(self, status: int, body: Mapping[str, Any], host: str | None = None) -> None:
        self.status = status
        self.code = str(body.get("code") or "")
        self.body = dict(body)
        detail = str(body.get("detail") or body.get("title") or f"the server answers {status}")
        if self.code.endswith("_not_found"):
            detail = detail.partition("; GET ")[
                0
            ]  # the REST call that lists them; the hint names the command
        if self.code == "invalid_request":
            detail = _in_options_words(detail)
        super().__init__(f"{detail} ({self.code or status})", hints_for(self.code, body, host))
        self.exit_code = exit_code_of(status)

    @property
    def places(self) -> list[str]:
        """The places of the request that do not fit, as the API names them."""
        faults = self.body.get("errors")
        found = faults if isinstance(faults, list) else []
        return [str(one.get("where")) for one in found if isinstance(one, Mapping)]


def _in_options_words(detail: str) -> str:
    """A misfit in the words of the command line: places are the API's, and some words a schema checker's."""
    place, colon, said = detail.partition(": ")
    part, _, name = place.partition("/")
    if not colon or part not in ("path", "query", "body"):
        return detail
    named = f"--{name.replace('_', '-')}" if part == "query" else shortened(name.replace("/", " "))
    for checker in ("Input ", "String ", "Value "):
        said = said.removeprefix(checker)
    return f"{named}: {said}" if named else said


def shortened(text: str) -> str:
    """Text of one's own in a message, of which the beginning is enough."""
    return text if len(text) <= _ECHOED_MAX else f"{text[:_ECHOED_MAX]}..."


def exit_code_of(status: int) -> ExitCode:
    """Return the exit code for an HTTP status of 400 and above."""
    if status in (401, 403):
        return ExitCode.REFUSED
    if status == 404:  # noqa: PLR2004 - HTTP's number reads best as itself
        return ExitCode.NOT_FOUND
    if status in (409, 412, 428):
        return ExitCode.CONFLICT
    return ExitCode.USAGE if status < 500 and status != 429 else ExitCode.UNREACHABLE  # noqa: PLR2004


_HINTS: Final[Mapping[str, str]] = {
    "unauthenticated": "give a valid key with --api-key-file, REDFLAG_API_KEY_FILE or REDFLAG_API_KEY",
    "host_not_found": "redflag hosts list",
    "group_not_found": "redflag groups list",
    "no_figures": "redflag scan HOST --wait",
    "command_not_found": "redflag commands list",
    "plan_not_found": "redflag updates plan HOST --wait",
    "plan_outdated": "redflag updates plan HOST --wait",
    "update_not_found": "redflag updates list HOST",
    "setting_not_found": "redflag settings list",
    "subsystem_not_found": "redflag subsystems list HOST",
    "package_ambiguous": "write NAME:ARCH, or name the package manager with --manager",
    "manager_ambiguous": "name the package manager with --manager",
    "host_not_active": "redflag hosts show HOST",
    "host_cannot_install": "redflag hosts show HOST",
    "manager_unknown": "redflag hosts show HOST",
    "nothing_to_do": "redflag updates list HOST",
    "too_many_pending": "redflag commands list --pending",
    "no_root_keys": "redflag doctor",
    "database_unavailable": "redflag doctor",
    "too_many_waiting": "try again in a moment",
    "job_not_found": "redflag jobs list",
    "agent_too_old": "redflag hosts show HOST",
    "no_hosts": "redflag hosts list",
}

_NAMED_COMMANDS: Final[Mapping[str, str]] = {
    "already_pending": "redflag commands show {} --wait",
    "already_retried": "redflag commands show {} --wait",
    "command_ended": "redflag commands show {}",
    "not_ended": "redflag commands show {} --wait",
    "retry_too_deep": "redflag commands show {}",
}
"""Problems whose `existing` is the command to look at."""


def hints_for(code: str, body: Mapping[str, Any], host: str | None = None) -> list[str]:
    """Return what a person can do about a problem, one line each.

    Args:
        code: of the problem.
        body: the whole problem.
        host: which one the request named; None for none.
    """
    named = "HOST" if host is None else shlex.quote(host)
    if code in _NAMED_COMMANDS:
        existing = body.get("existing")
        if isinstance(existing, Mapping) and existing.get("id"):
            return [_NAMED_COMMANDS[code].format(existing["id"])]
    if code in ("not_approved", "confirmation_required"):
        listed = [f"packages: {missing_names(body)}"] if missing_names(body) else []
        if code == "confirmation_required":
            return [*listed, f"redflag updates confirm {named}"]
        packages = _packages(body)
        approve = ["updates", "approve", named, *packages] if packages else ["updates", "list", named]
        return [*listed, f"redflag {' '.join(approve)}"]
    if code == "host_ambiguous":
        hosts = body.get("hosts")
        if isinstance(hosts, list):
            return [str(one.get("id")) for one in hosts[:_NAMED_MAX] if isinstance(one, Mapping)]
    if code == "internal":
        return [f"the dashboard's log says more; look for {body.get('correlation_id')}"]
    if code == "rate_limited" and body.get("retry_after_s") is not None:
        return [f"try again in {body['retry_after_s']} s"]
    return [_HINTS[code].replace("HOST", named)] if code in _HINTS else []


def _packages(body: Mapping[str, Any]) -> list[str]:
    """The packages in a problem's `missing` as one types them; none when they are too many for one line."""
    missing = body.get("missing")
    named = [one for one in missing if isinstance(one, Mapping)] if isinstance(missing, list) else []
    if len(named) > _TYPED_MAX:
        return []
    return [
        shlex.quote(":".join(str(one[part]) for part in ("name", "arch") if one.get(part))) for one in named
    ]


def missing_names(body: Mapping[str, Any]) -> str:
    """Return the names in a problem's `missing`, the first few, with a count of the rest."""
    missing = body.get("missing")
    if not isinstance(missing, list):
        return ""
    names = [str(one.get("name")) for one in missing if isinstance(one, Mapping)]
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more
