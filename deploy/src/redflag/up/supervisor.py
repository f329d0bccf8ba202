"""Keeps the programs running: started in order, each ready before the next, restarted when they end by themselves.

A program that ends is started again after a jittered, growing delay; one that keeps ending (see
`restart_policy`), or says that its configuration is wrong, fails the whole, with its last words. Stopping goes
in the opposite order, each program with a deadline after which it is killed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from redflag.embedded.errors import EmbeddedServerError
from redflag.embedded.launch import Launch
from redflag.up.child_process import ChildProcess, describe_exit
from redflag.up.errors import LeftoverError, ProgramFailedError, UpError
from redflag.up.log_files import RotatingLog
from redflag.up.log_line import LogLine, parse_line
from redflag.up.reporter import Reporter
from redflag.up.restart_policy import RestartPolicy
from redflag.up.state import StateFile

READY_POLL_S = 0.05
LAST_LINES = 5  # shown when a program fails
EXIT_CONFIGURATION = 2  # a program's word for "starting me again will not help"


async def _nothing() -> None:
    return


@dataclass(frozen=True)
class Program:
    """What the supervisor needs to know about one program."""

    name: str
    title: str  # for people
    launch: Callable[[], Launch]
    ready: Callable[[int], Awaitable[str | None]]  # given the process id: None when ready, else why not
    before: Callable[[], Awaitable[None]] = _nothing  # before each start, for example to end leftovers
    says: frozenset[str] = frozenset()  # events in its log without one of which it is not ready
    ready_deadline_s: float = 30.0
    stop_grace_s: float = 6.0


@dataclass
class _Running:
    program: Program
    policy: RestartPolicy
    log: RotatingLog
    process: ChildProcess | None = None
    keeper: "asyncio.Task[None] | None" = None
    last_lines: "deque[LogLine]" = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    processes: list[ChildProcess] = field(default_factory=list)  # whose output is still read
    said: bool = False  # what `Program.says` waits for, since the last start


class Supervisor:
    """Starts, watches and stops programs.

    Args:
        state: where started processes are noted.
        reporter: who is told.
        logs: the directory of the programs' logs.
        jitter: gives a number from 0 to 1.
        on_restart: called when a program is ready again after a restart.
    """

    def __init__(
        self,
        state: StateFile,
        reporter: Reporter,
        logs: Path,
        *,
        jitter: Callable[[], float],
        on_restart: Callable[[], object] = lambda: None,
    ) -> None:
        self._state = state
        self._reporter = reporter
        self._logs = logs
        self._jitter = jitter
        self._on_restart = on_restart
        self._running: dict[str, _Running] = {}
        self._stopping = asyncio.Event()
        self._failed = asyncio.Event()
        self._failure: UpError | None = None

    def pids(self) -> dict[str, int]:
        """Return the process ids of the programs that run now."""
        return {
            name: running.process.pid
            for name, running in self._running.items()
            if running.process is not None and not running.process.ended.is_set()
        }

    async def start(self, program: Program) -> None:
        """Start a program and wait until it is ready.

        Raises:
            ProgramFailedError: it keeps ending, or is not ready within its deadline.
        """
        log = RotatingLog(self._logs / f"{program.name}.log")
        running = _Running(program, RestartPolicy(self._jitter), log)
        self._running[program.name] = running
        running.keeper = asyncio.create_task(self._keep(running), name=f"keep {program.name}")
        running.keeper.add_done_callback(lambda task: self._keeper_done(running, task))
        await self._wait_ready(running)

    async def failure(self) -> None:
        """Wait until a program failed for good.

        Raises:
            ProgramFailedError: always, in the end.
        """
        await self._failed.wait()
        if self._failure is not None:
            raise self._failure

    async def stop(self, hurry: asyncio.Event) -> list[str]:
        """Stop all programs, last started first; return the names of those that had to be killed.

        Args:
            hurry: when set, nobody gets any more time.
        """
        self._stopping.set()
        killed = []
        for name, running in reversed(self._running.items()):
            process = running.process
            if process is not None and not await process.stop(running.program.stop_grace_s, hurry):
                killed.append(name)
            if running.keeper is not None:
                await asyncio.wait([running.keeper], timeout=5)
                running.keeper.cancel()
            for old in running.processes:
                old.close()
            running.log.close()
        return killed

    async def _wait_ready(self, running: _Running) -> None:
        program = running.program
        reason: str | None = "it did not start"
        try:
            async with asyncio.timeout(program.ready_deadline_s):
                while reason is not None:
                    if self._failure is not None:
                        raise self._failure
                    process = running.process
                    if process is not None and not process.ended.is_set():
                        reason = await _ask(running, process.pid)
                    if reason is not None:
                        await asyncio.sleep(READY_POLL_S)
        except TimeoutError:
            raise self._error(
                running, f"is not ready after {program.ready_deadline_s:.0f} s ({reason})"
            ) from None

    async def _keep(self, running: _Running) -> None:
        loop = asyncio.get_running_loop()
        name = running.program.name
        first = True
        while not self._stopping.is_set():
            what = await self._run_once(running, watch_ready=not first)
            first = False
            if self._stopping.is_set():
                return
            code = running.process.exit_code if running.process is not None else None
            delay_s = None if code == EXIT_CONFIGURATION else running.policy.died(loop.time())
            if delay_s is None:
                reason = what if code == EXIT_CONFIGURATION else f"{what} and does not stay up"
                self._fail(self._error(running, reason))
                return
            self._reporter.report(
                "program.restarting",
                f"  {name} {what}; starting it again",
                level="warning",
                name=name,
                exit_code=code,
                delay_s=round(delay_s, 3),
            )
            await self._pause(delay_s)

    async def _run_once(self, running: _Running, *, watch_ready: bool) -> str:
        """Start the program and wait for its end; return how that came."""
        running.process = None
        running.said = False
        try:
            await running.program.before()
            if self._stopping.is_set():
                return "was stopped before it started"
            process = ChildProcess(running.program.launch(), lambda line: self._line(running, line))
        except (OSError, EmbeddedServerError, LeftoverError) as error:
            self._line(running, str(error))
            return "cannot be started"
        running.process = process
        running.processes = [old for old in running.processes if old.reading] + [process]
        self._note(lambda: self._state.started(running.program.name, process.pid))
        watcher = asyncio.create_task(self._tell_when_ready(running)) if watch_ready else None
        await process.ended.wait()
        if watcher is not None:
            watcher.cancel()
        self._note(lambda: self._state.ended(running.program.name))
        return describe_exit(process.exit_code)

    async def _tell_when_ready(self, running: _Running) -> None:
        try:
            await self._wait_ready(running)
            self._on_restart()
        except UpError as error:
            self._fail(error)
            return
        self._reporter.report(
            "program.restarted", f"  {running.program.name} is ready again", name=running.program.name
        )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _line(self, running: _Running, text: str) -> None:
        line = parse_line(running.program.name, text)
        if not line.of_a_stack:
            running.last_lines.append(line)
        if line.record is not None and line.record["event"] in running.program.says:
            running.said = True
        running.log.write(text)
        self._reporter.program_line(line)

    def _note(self, save: Callable[[], None]) -> None:
        try:
            save()
        except OSError as error:
            # A full disk must not stop what runs; the mark in the environment still finds leftovers.
            self._reporter.report(
                "state.not_saved", f"  up.json cannot be written: {error}", level="error", reason=str(error)
            )

    def _error(self, running: _Running, reason: str) -> ProgramFailedError:
        name = running.program.name
        said = tuple(line.readable() for line in running.last_lines)
        return ProgramFailedError(name, reason, said, self._logs / f"{name}.log")

    def _keeper_done(self, running: _Running, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(self._error(running, f"cannot be watched ({type(error).__name__}: {error})"))

    def _fail(self, error: UpError) -> None:
        if self._failure is None:
            self._failure = error
            self._failed.set()


async def _ask(running: _Running, pid: int) -> str | None:
    program = running.program
    if program.says and not running.said:
        return f"it has not said {' or '.join(sorted(program.says))} yet"
    try:
        return await program.ready(pid)
    except Exception as error:  # noqa: BLE001 - a check that fails is a reason like any other; its deadline holds
        return f"the check fails: {type(error).__name__}: {error}"
