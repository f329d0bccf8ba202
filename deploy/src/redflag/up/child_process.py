"""One running child: its output line by line, its end as an event.

The end is told by a pidfd, so it does not depend on the output's end of file: a grandchild may keep that open.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

from redflag.embedded.launch import Launch
from redflag.up.log_files import LineSplitter

READ_BYTES = 64 * 1024
DRAIN_MAX_READS = (
    64  # when a child has ended: what its pipe can hold, and a bound should a grandchild write on
)


class ChildProcess:
    """A child that was started.

    Must be made in the main thread: the kernel ends a child with the thread that started it.

    Args:
        launch: how to start it.
        on_line: gets each line of its standard output and error.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, launch: Launch, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._splitter = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.stop_signal = launch.stop_signal
        self._output: int | None
        self._output, write_end = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own argument list
                launch.argv, stdin=subprocess.DEVNULL, stdout=write_end, stderr=write_end, **launch.options()
            )
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)
        self._loop.add_reader(self._output, self._read)
        self._handle = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._handle, self._on_end)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def reading(self) -> bool:
        """Whether its output is still open, which a grandchild may keep it after its end."""
        return self._output is not None

    @property
    def exit_code(self) -> int | None:
        """The exit code once it ended; negative for a signal."""
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send a signal; harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> bool:
        """Ask it to end, kill it when `grace_s` seconds were not enough or `hurry` is set.

        Returns:
            Whether it ended by itself.
        """
        if self.ended.is_set():
            return True
        self.send(self.stop_signal)
        waits = [asyncio.create_task(self.ended.wait()), asyncio.create_task(hurry.wait())]
        try:
            await asyncio.wait(waits, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            if self.ended.is_set():
                return True
            self.send(signal.SIGKILL)
            # Only a process stuck in the kernel survives this; the next start will meet it again.
            await asyncio.wait(waits[:1], timeout=5)
        finally:
            for wait in waits:
                wait.cancel()
        return False

    def close(self) -> None:
        """Stop reading; what a grandchild may still write is lost."""
        if self._output is not None:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None
            for line in self._splitter.flush():
                self._on_line(line)

    def _read(self) -> bool:
        if self._output is None:
            return False
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        for line in self._splitter.feed(data):
            self._on_line(line)
        return True

    def _on_end(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._process.wait()
        for _ in range(DRAIN_MAX_READS):
            if not self._read():
                break
        self.ended.set()


def describe_exit(code: int | None) -> str:
    """Say how a process ended, for people."""
    if code is None:
        return "is still running"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
