"""`redflag up` from the lock to the last stop: signals, exit codes, and no traceback for anybody.

Exit codes: 0 stopped when asked to, 1 something failed, 2 an option or setting is wrong, 3 already running.
"""

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redflag.up.data_dir import DataDir
from redflag.up.errors import EXIT_FAILED, UpError
from redflag.up.leftovers import end_leftovers
from redflag.up.library_logs import keep_in
from redflag.up.lock import hold
from redflag.up.log_files import RotatingLog
from redflag.up.options import Options
from redflag.up.ready_file import ReadyFile, Summary
from redflag.up.reporter import Reporter
from redflag.up.state import StateFile
from redflag.up.supervisor import Supervisor
from redflag_wire.clock import SystemClock

if TYPE_CHECKING:
    from redflag.up.startup import Startup

EXIT_OK = 0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_up(options: Options, environment: Mapping[str, str] = os.environ) -> int:
    """Run RedFlag until it is told to stop; return the exit code."""
    clock = SystemClock()
    reporter = Reporter(sys.stderr, options.log_format, now=clock.now)
    try:
        data = DataDir.prepare(options.data)
        with hold(data):
            reporter.log = RotatingLog(data.logs / "up.log")
            keep_in(reporter.log)
            return asyncio.run(_Up(options, environment, data, reporter).run())
    except UpError as error:
        return _failed(reporter, error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: the stack goes to the log
        return _unforeseen(reporter, error)


def _failed(reporter: Reporter, error: UpError) -> int:
    reporter.report("up.failed", f"redflag up: {error}", level="error", reason=str(error))
    return error.exit_code


def _unforeseen(reporter: Reporter, error: Exception) -> int:
    if reporter.log is not None:
        reporter.log.write("".join(traceback.format_exception(error)).rstrip())
    what = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    reporter.report(
        "up.failed",
        f"redflag up: this should not happen: {what} (more in logs/up.log)",
        level="critical",
        reason=what,
    )
    return EXIT_FAILED


class _Up:
    def __init__(
        self, options: Options, environment: Mapping[str, str], data: DataDir, reporter: Reporter
    ) -> None:
        self._options = options
        self._environment = environment
        self._data = data
        self._reporter = reporter
        self._ready_file = ReadyFile(options.ready_file)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._state = StateFile(data.state_file)
        self._summary: Callable[[], Summary] | None = None  # once everything was ready

    async def run(self) -> int:
        """Start, serve, stop.

        Raises:
            UpError: something failed; everything is stopped by then.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            # nohup asks to be left alone when the terminal goes.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal)
        self._ready_file.remove()
        self._reporter.report("up.starting", f"RedFlag starts with its data in {self._data.root}")
        self._state.load()
        for name, pid in await asyncio.to_thread(end_leftovers, self._data.root, self._state.state):
            self._reporter.report(
                "leftover.ended",
                f"  {name} (pid {pid}) of the last run was still there and was ended",
                pid=pid,
            )
        self._state.state.children.clear()
        supervisor = Supervisor(
            self._state, self._reporter, self._data.logs, jitter=random.random, on_restart=self._rewrite_ready
        )
        try:
            await self._serve(supervisor)
        finally:
            await self._shut_down(supervisor)
        return EXIT_OK

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _serve(self, supervisor: Supervisor) -> None:
        began = time.monotonic()
        stop = asyncio.create_task(self._stop.wait())
        failure = asyncio.create_task(supervisor.failure())
        start = asyncio.create_task(self._start(supervisor))
        tasks: list[asyncio.Task[Any]] = [stop, failure, start]
        try:
            await asyncio.wait([stop, failure, start], return_when=asyncio.FIRST_COMPLETED)
            if start.done() and not stop.done():
                startup = await start
                self._announce(startup, time.monotonic() - began)
                health = asyncio.create_task(startup.health().run())
                tasks.append(health)
                await asyncio.wait([stop, failure, health], return_when=asyncio.FIRST_COMPLETED)
                if health.done():
                    await health
            if failure.done():
                await failure
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self, supervisor: Supervisor) -> "Startup":
        # Loading the database and wire libraries takes a second; by now the person sees that something happens.
        from redflag.up.startup import Startup  # noqa: PLC0415

        startup = Startup(
            options=self._options,
            environment=self._environment,
            data=self._data,
            state=self._state,
            supervisor=supervisor,
            reporter=self._reporter,
            clock=SystemClock(),
        )
        await startup.run()
        return startup

    def _announce(self, startup: "Startup", seconds: float) -> None:
        self._summary = startup.summary
        summary = startup.summary()
        self._ready_file.write(summary)
        text = [
            f"RedFlag is ready ({seconds:.1f} s)",
            f"  API      {summary.api_url}",
            f"  Gateway  {summary.gateway_url}",
            f"  Admin's API key in {summary.admin_secret_file}",
            f"  See updates with: {_as_typed()} updates list",
            "  Ctrl-C stops everything",
        ]
        self._reporter.report(
            "up.ready",
            "\n".join(text),
            seconds=round(seconds, 3),
            api_url=summary.api_url,
            gateway_url=summary.gateway_url,
            pids=dict(summary.pids),
        )

    def _rewrite_ready(self) -> None:
        # A program restarted during the start changes nothing yet: the file is written at its end.
        if self._summary is not None and not self._stop.is_set():
            self._ready_file.write(self._summary())

    async def _shut_down(self, supervisor: Supervisor) -> None:
        began = time.monotonic()
        self._reporter.quiet = True
        self._ready_file.remove()
        self._reporter.report("up.stopping", "RedFlag stops")
        killed = await supervisor.stop(self._hurry)
        left = await asyncio.to_thread(end_leftovers, self._data.root)
        self._reporter.report(
            "up.stopped",
            f"RedFlag stopped ({time.monotonic() - began:.1f} s)"
            + (f"; killed because they did not end in time: {', '.join(killed)}" if killed else ""),
            killed=killed,
            left=[name for name, _ in left],
        )


def _as_typed() -> str:
    """Return how this command was started, so that the next one can be typed the same way."""
    return sys.argv[0] if sys.argv and Path(sys.argv[0]).name == "redflag" else "redflag"
