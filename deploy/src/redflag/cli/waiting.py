"""Following a command, or a job, to its end; a command with the API's long wait.

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


@dataclass(frozen=True)
class Followed:
    """What is waited for.

    Attributes:
        what: a word for it.
        id: its id.
        path: where the API shows it.
        show: the command that shows it here.
        standing: says where it stands.
        holds: whether the API can be asked to hold its answer until the state is another one.
    """

    what: str
    id: str
    path: str
    show: str
    standing: Callable[[Json], str]
    holds: bool = False


async def follow(api: "Api", out: Output, command: Json, *, timeout_s: float, pace: Pace = _REAL) -> Json:
    """Wait until a command has come to its end; return it whole.

    Raises:
        WaitTimedOutError: it has no end in time.
        CliError: the server refused, or was away for too long.
    """
    command_id = str(command["id"])
    show = f"redflag commands show {command_id}"
    followed = Followed("command", command_id, f"/commands/{command_id}", show, _standing, holds=True)
    return await follow_to_end(api, out, followed, command, timeout_s=timeout_s, pace=pace)


async def follow_to_end(
    api: "Api", out: Output, followed: Followed, known: Json, *, timeout_s: float, pace: Pace = _REAL
) -> Json:
    """Wait until something has come to its end; return it whole.

    Args:
        api: the server.
        out: tells where it stands.
        followed: what.
        known: how it was last seen.
        timeout_s: seconds to wait at most.
        pace: the clock.

    Raises:
        WaitTimedOutError: it has no end in time.
        CliError: the server refused, or was away for too long.
    """
    out.goes_on = f"\nThe {followed.what} goes on without you. Follow it with:\n  {followed.show} --wait"
    progress = Progress(out.stderr, pace.monotonic)
    async with progress.moving():
        found = await _until_end(api, followed, known, progress=progress, timeout_s=timeout_s, pace=pace)
    out.goes_on = None
    return found


async def _until_end(
    api: "Api", followed: Followed, known: Json, *, progress: Progress, timeout_s: float, pace: Pace
) -> Json:
    until = pace.monotonic() + timeout_s
    away_since: float | None = None
    while True:
        progress.show(followed.standing(known) if away_since is None else "the server is away; trying again")
        state = str(known.get("state"))
        asked_at = pace.monotonic()
        left = until - asked_at
        if left <= 0:
            raise WaitTimedOutError(followed.id, state, timeout_s, what=followed.what, show=followed.show)
        wait_s = round(min(LONG_WAIT_S, left), 3) if followed.holds and away_since is None else 0
        query = {"wait": wait_s, "after_state": state} if followed.holds else {}
        try:
            found = await api.get(followed.path, query, wait_s=wait_s)
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
        known, away_since = found, None
        if not moved and pace.monotonic() - asked_at < PAUSE_S:
            await pace.sleep(PAUSE_S)


def _standing(command: Json) -> str:
    host, state = command.get("hostname") or "host", str(command.get("state"))
    return f"{host}: {spell(command.get('kind'))}: {WAITS_FOR.get(state, spell(state))}"


def outcome(command: Json) -> ExitCode:
    """Return the exit code for a command that has come to its end."""
    good = command.get("state") == "succeeded" and command.get("result") in _GOOD_RESULTS
    return ExitCode.DONE if good else ExitCode.FAILED
