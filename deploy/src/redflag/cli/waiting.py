"""Follows a command to its end, with a line of progress on standard error.

The server answers as soon as the command moves; a server that is away for a while is asked again until the time
is over, because what was asked for goes on without it.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, Final

from redflag.cli.client import Client, segment
from redflag.cli.errors import CliError
from redflag.cli.exit_codes import ExitCode
from redflag.cli.output import remark
from redflag.cli.terminal import line
from redflag.cli.words import span, state

ASK_S: Final = 20.0  # longest single question; the progress line is renewed in between
ASK_ON_TERMINAL_S: Final = 1.0
MARGIN_S: Final = 15.0  # what the network may take on top
TRY_AGAIN_S: Final = 1.0
LONGEST_S: Final = {"scan": 900, "dry_run_update": 900, "install_updates": 7200}
"""Seconds to wait for a kind when nothing else is said."""

_WAITS_FOR: Final = {
    "requested": "the signer",
    "signed": "the broker",
    "queued": "the host to take it",
    "delivered": "the host to begin",
    "running": "the host to finish",
    "cancelling": "the host's word",
}


class Progress:
    """One line that is renewed on a terminal, or one line per state elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""
        self._width = 0

    @property
    def ask_s(self) -> float:
        """How long one question may take for the line to stay fresh."""
        return ASK_ON_TERMINAL_S if self._terminal else ASK_S

    def show(self, command: dict[str, Any], elapsed_s: float) -> None:
        """Show where the command stands."""
        now = command["state"]
        text = f"{state(command['kind'])} on {command['hostname']}: {state(now)}"
        if now in _WAITS_FOR:
            text += f", waits for {_WAITS_FOR[now]}"
        if self._terminal:
            full = f"{text} ({span(elapsed_s)})"
            sys.stderr.write("\r" + line(full).ljust(self._width))
            self._width = len(full)
            sys.stderr.flush()
        elif text != self._last:
            remark(text)
        self._last = text

    def done(self) -> None:
        """Leave the line as it is."""
        if self._terminal and self._last:
            sys.stderr.write("\n")


def follow(
    client: Client,
    command: dict[str, Any],
    timeout_s: float | None,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Follow a command until it has an end; return it whole.

    Args:
        client: where to ask.
        command: as the API answered.
        timeout_s: seconds to wait at most; None for what suits its kind.
        monotonic: the clock.
        sleep: between tries while the server is away.

    Raises:
        CliError: with TIMED_OUT; or what the server refuses for good.
    """
    longest = LONGEST_S.get(command["kind"], LONGEST_S["scan"]) if timeout_s is None else timeout_s
    began = monotonic()
    progress = Progress()
    path = f"/commands/{segment(command['id'])}"
    away: CliError | None = None
    try:
        while True:
            elapsed = monotonic() - began
            progress.show(command, elapsed)
            if command["ended"] and "events" in command:
                return command
            left = longest - elapsed
            if left <= 0:
                raise _timed_out(command, longest, away)
            wait = 0.0 if command["ended"] else min(progress.ask_s, left)
            try:
                command = client.get(
                    path, timeout_s=wait + MARGIN_S, wait=round(wait, 1), after_state=command["state"]
                )
                away = None
            except CliError as error:
                if error.exit_code is not ExitCode.UNREACHABLE:
                    raise
                away = error
                sleep(min(TRY_AGAIN_S, max(left, 0.0)))
    finally:
        progress.done()


def _timed_out(command: dict[str, Any], longest: float, away: CliError | None) -> CliError:
    if away is not None:
        return away
    return CliError(
        f"command {command['id']} is still {state(command['state'])} after {span(longest)}",
        ExitCode.TIMED_OUT,
        hint=f"it goes on; follow it with `redflag commands show {command['id']}`",
        code="timed_out",
        data={"command": command},
    )


def exit_code_of(command: dict[str, Any]) -> ExitCode:
    """What a command that has an end means for a script."""
    return ExitCode.OK if command["state"] == "succeeded" else ExitCode.FAILED
