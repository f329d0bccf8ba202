"""How every long-running program starts and stops.

SIGTERM and SIGINT set one stop event and the program ends by itself; a second signal ends it at once. A wrong
setting is one line on standard error and exit code 2. Anything unforeseen is one log record with its stack and
exit code 1: the supervisor starts the program again, and the record says why it had to.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2

Main = Callable[[asyncio.Event], Awaitable[None]]
"""A program's body: wires its parts, serves until the event is set, then stops in order."""


async def _run_until_stopped(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await main(stop)


def run(program: str, main: Main) -> int:
    """Run a program until it is told to stop.

    Args:
        program: the program's name, for the one line a wrong setting gets.
        main: the body.

    Returns:
        The process's exit code.
    """
    try:
        asyncio.run(_run_until_stopped(main))
    except ConfigurationError as error:
        sys.stderr.write(f"redflag {program}: {error}\n")
        return EXIT_CONFIGURATION
    except Exception:  # noqa: BLE001 - the last line of defence: recorded with its stack, then the exit code says so
        get_logger().critical("program.died", exc_info=True)
        return EXIT_FAILED
    return EXIT_OK
