"""Running a package manager's programs: no shell, nothing inherited, an end in sight.

Guarantees:
1. The program is named by an absolute path and gets an argument vector, never a command line.
2. Its environment is exactly the mapping passed in; its directory is `/`; its stdin is empty.
3. It leads a session of its own, so that the time limit ends it with everything it started: SIGTERM to the
   group, and SIGKILL after a grace time.
4. Output is read while it runs and kept within bounds.
5. Whatever goes wrong is a `PackageManagerError`.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from redflag_scanner_agent.packages import run_lock
from redflag_scanner_agent.packages.errors import (
    OutputRefusedError,
    ProgramMissingError,
    ProgramTimeoutError,
)
from redflag_scanner_agent.packages.output import OutputKeeper
from redflag_wire.limits import OUTPUT_KEEP_BYTES

READ_BYTES = 65_536
PARSED_MAX_BYTES = 32 * 1024 * 1024  # bytes of output that is parsed whole; 4,000 updates take about 3 MiB
KEEP_BYTES = OUTPUT_KEEP_BYTES  # bytes kept of each end of output that is reported
FILE_MAX_BYTES = 64 * 1024 * 1024  # bytes a long run may write to each of its output files
GRACE_S = 10.0  # seconds between SIGTERM and SIGKILL
WATCH_S = 0.05  # seconds between two looks at a long run; a death in a pidfd is not to be had on old kernels


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a program ended. A negative exit code is the signal that ended it."""

    exit_code: int
    stdout: str
    stderr: str
    duration_ms: int
    timed_out: bool = False


async def run_parsed(
    argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float, limit: int = PARSED_MAX_BYTES
) -> Finished:
    """Run a program whose whole output is needed.

    Cancelling ends the program: use this for programs that only look.

    Raises:
        ProgramMissingError: it cannot be started.
        ProgramTimeoutError: it ran longer than `timeout_s` seconds.
        OutputRefusedError: it wrote more than `limit` bytes to stdout.
    """
    started = time.monotonic()
    process = await _start(argv, env)
    out, err = OutputKeeper(limit, 0), OutputKeeper(KEEP_BYTES, KEEP_BYTES)
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(_drain(process.stdout, out), _drain(process.stderr, err), process.wait())
    except TimeoutError:
        raise ProgramTimeoutError(f"{argv[0]} ran longer than {timeout_s:g} s and was ended") from None
    finally:
        await _end_group(process)
    if out.dropped:
        raise OutputRefusedError(f"{argv[0]} wrote more than {limit} bytes")
    return Finished(
        exit_code=await process.wait(),
        stdout=out.text(),
        stderr=err.text(),
        duration_ms=_elapsed_ms(started),
    )


async def run_lasting(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    directory: Path,
    inherit_lock: bool = True,
) -> Finished:
    """Run a program that changes the host; its output goes to files in `directory`, not to pipes.

    With pipes, the death of this process would break the package manager in the middle of its work (EPIPE);
    with files it goes on and the next look at the host sees how it ended. For the same reason cancelling does
    NOT end the program; only the time limit does. As long as it runs it holds the lock of `run_lock` in
    `directory`, unless `inherit_lock` is false: that is for a program that would pass the lock on to what it
    starts (dpkg does, apt-get does not) and has a lock of its own.

    Returns:
        How it ended, with the first and last 64 KiB of each stream. Running beyond `timeout_s` seconds is told by
        `timed_out`, not raised: the caller must look at what was done until then.

    Raises:
        LockHeldError: an earlier run in `directory` is still at work.
        ProgramMissingError: it cannot be started, or `directory` cannot be written.
    """
    started = time.monotonic()
    paths = directory / "install.stdout", directory / "install.stderr"
    with contextlib.ExitStack() as files:
        with contextlib.ExitStack() as until_started:
            lock = run_lock.take(directory)
            until_started.callback(os.close, lock)
            out = files.enter_context(_fresh(paths[0]))
            err = files.enter_context(_fresh(paths[1]))
            # Not asyncio's subprocess: its transport kills the program when the event loop goes away.
            process = _start_lasting(argv, env, out, err, (lock,) if inherit_lock else ())
            with contextlib.suppress(OSError):  # a full disk: the run is then one without a name
                run_lock.name_run(lock, process.pid)
        timed_out = False
        try:
            while process.poll() is None:
                if time.monotonic() - started > timeout_s:
                    timed_out = True
                    await _end_lasting(process)
                    break
                await asyncio.sleep(WATCH_S)
                _cut(out)
                _cut(err)
        finally:
            if process.poll() is None:  # cancelled: it goes on, and somebody must take its exit code
                threading.Thread(target=process.wait, daemon=True, name="reap-package-manager").start()
    return Finished(
        exit_code=process.returncode if process.returncode is not None else -signal.SIGKILL,
        stdout=_ends(paths[0]),
        stderr=_ends(paths[1]),
        duration_ms=_elapsed_ms(started),
        timed_out=timed_out,
    )


async def _start(argv: Sequence[str], env: Mapping[str, str]) -> asyncio.subprocess.Process:
    _check_program(argv[0])
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env=dict(env),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProgramMissingError(f"cannot start {argv[0]}: {error}") from error


def _start_lasting(
    argv: Sequence[str],
    env: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes],
    inherited: tuple[int, ...],
) -> subprocess.Popen[bytes]:
    _check_program(argv[0])
    try:
        return subprocess.Popen(  # noqa: S603 - absolute path, argument vector, checked names only
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd="/",
            env=dict(env),
            start_new_session=True,
            pass_fds=inherited,
        )
    except (OSError, ValueError) as error:
        raise ProgramMissingError(f"cannot start {argv[0]}: {error}") from error


def _check_program(name: str) -> None:
    if not Path(name).is_absolute():
        raise ProgramMissingError(f"{name} is not an absolute path")


async def _drain(stream: asyncio.StreamReader | None, keeper: OutputKeeper) -> None:
    assert stream is not None  # noqa: S101 - both streams are pipes, see _start's callers
    while piece := await stream.read(READ_BYTES):
        keeper.feed(piece)


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the whole group if the program still runs; the group bears the number of its leader."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), GRACE_S)
            return


async def _end_lasting(process: subprocess.Popen[bytes]) -> None:
    """The same for a program that is not asyncio's."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return
            await asyncio.sleep(WATCH_S)


def _fresh(path: Path) -> IO[bytes]:
    try:
        path.unlink(missing_ok=True)
        # O_APPEND lets _cut shorten the file while the program writes; O_EXCL refuses a planted link.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProgramMissingError(f"cannot write {path}: {error.strerror}") from error
    return os.fdopen(handle, "r+b", buffering=0)


def _cut(file: IO[bytes]) -> None:
    """Keep a runaway program from filling the disk: beyond the bound only the two ends stay."""
    size = os.fstat(file.fileno()).st_size
    if size <= FILE_MAX_BYTES:
        return
    tail = os.pread(file.fileno(), KEEP_BYTES, size - KEEP_BYTES)
    os.ftruncate(file.fileno(), KEEP_BYTES)
    os.write(file.fileno(), b"\n[... bytes left out ...]\n" + tail)


def _ends(path: Path) -> str:
    keeper = OutputKeeper(KEEP_BYTES, KEEP_BYTES)
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            keeper.feed(piece)
    return keeper.text()


def _elapsed_ms(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
