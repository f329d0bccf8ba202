"""Following a command to its end with the API's long wait.

Guarantees: it ends after `timeout_s` and one request's deadline, whatever happens; the server is asked at most
once a second while nothing changes; a server that is away for a while, for example because it is restarted,
does not end the waiting.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.output import Output
from redflag.cli.problems import ApiProblemError, ServerUnreachableError, WaitTimedOutError
from redflag.cli.progress import Progress
from redflag.cli.words import WAITS_FOR, spell

if TYPE_CHECKING:
    from redflag.cli.connection import Api

LONG_WAIT_S: Final = 50.0  # below the API's own bound of 55
PAUSE_S: Final = 1.0  # between two questions when the answer came at once
AWAY_MAX_S: Final = 120.0  # how long a server may be away before the waiting ends

_GOOD_RESULTS: Final = (None, "succeeded", "succeeded_pending_reboot")


@dataclass(frozen=True)
class Pace:
    """The clock of the waiting.

    Attributes:
        monotonic: seconds of a clock that never jumps.
        sleep: pauses for some seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


_REAL: Final = Pace()


async def follow(api: "Api", out: Output, command: Json, *, timeout_s: float, pace: Pace = _REAL) -> Json:
    """Wait until a command has come to its end; return it whole.

    Raises:
        WaitTimedOutError: it has no end in time.
        CliError: the server refused, or was away for too long.
    """
    command_id = str(command["id"])
    out.goes_on = (
        f"\nThe command goes on without you. Follow it with:\n  redflag commands show {command_id} --wait"
    )
    progress = Progress(out.stderr, pace.monotonic)
    async with progress.moving():
        found = await _until_end(api, command, progress, timeout_s, pace)
    out.goes_on = None
    return found


async def _until_end(api: "Api", command: Json, progress: Progress, timeout_s: float, pace: Pace) -> Json:
    command_id, state = str(command["id"]), str(command.get("state"))
    until = pace.monotonic() + timeout_s
    away_since: float | None = None
    while True:
        progress.show(_standing(command, state) if away_since is None else "the server is away; trying again")
        asked_at = pace.monotonic()
        left = until - asked_at
        if left <= 0:
            raise WaitTimedOutError(command_id, state, timeout_s)
        wait_s = round(min(LONG_WAIT_S, left), 3) if away_since is None else 0
        try:
            found = await api.get(
                f"/commands/{command_id}", {"wait": wait_s, "after_state": state}, wait_s=wait_s
            )
        except (ServerUnreachableError, ApiProblemError) as error:
            if error.exit_code is not ExitCode.UNREACHABLE:
                raise
            away_since = asked_at if away_since is None else away_since
            if pace.monotonic() - away_since > AWAY_MAX_S:
                raise
            await pace.sleep(PAUSE_S)
            continue
        if found.get("ended"):
            return found
        moved = found.get("state") != state
        command, state, away_since = found, str(found.get("state")), None
        if not moved and pace.monotonic() - asked_at < PAUSE_S:
            await pace.sleep(PAUSE_S)


def _standing(command: Json, state: str) -> str:
    host = command.get("hostname") or "host"
    return f"{host}: {spell(command.get('kind'))}: {WAITS_FOR.get(state, spell(state))}"


def outcome(command: Json) -> ExitCode:
    """Return the exit code for a command that has come to its end."""
    good = command.get("state") == "succeeded" and command.get("result") in _GOOD_RESULTS
    return ExitCode.DONE if good else ExitCode.FAILED
