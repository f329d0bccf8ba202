"""The one place every command runs in: opens the connection, and turns whatever happens into an exit code.

Guarantees: no traceback reaches a person; Ctrl-C says what goes on without us; a reader that closes the pipe
(`| head`) is no error.
"""

import asyncio
import io
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Common, Waiting
from redflag.cli.output import Output
from redflag.cli.problems import CliError
from redflag.cli.terminal_text import one_line

if TYPE_CHECKING:
    from redflag.cli.connection import Api


@dataclass(frozen=True)
class Session:
    """What a command works with.

    Attributes:
        api: the server.
        out: the person or script.
    """

    api: "Api"
    out: Output


def run(
    common: Common, work: Callable[[Session], Awaitable[ExitCode]], *, waiting: Waiting | None = None
) -> int:
    """Do a command's work against the server; return the exit code.

    Args:
        common: which server, and how answers are printed.
        work: asks and prints.
        waiting: of a command that has it; refused before anything is asked when it is written wrongly.
    """

    async def connected(out: Output) -> ExitCode:
        if waiting is not None:
            waiting.check()
        # aiohttp is half of the start-up time, and what is wrong with an option is said without it.
        from redflag.cli.find_server import find_server  # noqa: PLC0415

        server = find_server(common, os.environ)
        from redflag.cli.connection import Api  # noqa: PLC0415

        async with Api(server) as api:
            return await work(Session(api, out))

    return run_alone(common, connected)


def run_alone(common: Common, work: Callable[[Output], Awaitable[ExitCode]]) -> int:
    """Do a command's work that finds its own way; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no UTF-8
    out = Output(sys.stdout, sys.stderr, common.format)
    try:
        code = asyncio.run(_awaited(work, out))
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except CliError as error:
        return _failed(out, error)
    except KeyboardInterrupt:
        out.note(out.goes_on or "Interrupted.")
        return ExitCode.INTERRUPTED
    except Exception as error:  # the last line of defence
        out.note(f"redflag: this should not happen: {type(error).__name__}: {one_line(error)}")
        out.note("  please report it; REDFLAG_DEBUG=1 shows where")
        if os.environ.get("REDFLAG_DEBUG"):
            raise
        return ExitCode.FAILED
    return code


async def _awaited(work: Callable[[Output], Awaitable[ExitCode]], out: Output) -> ExitCode:
    return await work(out)


def _failed(out: Output, error: CliError) -> int:
    try:
        sys.stdout.flush()
        out.error(error)
    except BrokenPipeError:
        return _reader_gone()
    return error.exit_code


def _reader_gone() -> int:
    # Python flushes standard output once more at its end; that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.PIPE_CLOSED
