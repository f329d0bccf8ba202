"""The line that moves while a command is waited for, on standard error only.

On a terminal one line is rewritten every second with the time that passed; elsewhere each new state is a line.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TextIO

from redflag.cli.terminal_text import one_line
from redflag.cli.words import duration

REDRAW_S: Final = 1.0
_CLEAR: Final = "\r\x1b[K"  # to the line's begin, and away with it


class Progress:
    """Shows where a command stands.

    Args:
        stream: standard error.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(self, stream: TextIO, monotonic: Callable[[], float]) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._monotonic = monotonic
        self._began = monotonic()
        self._text = ""

    def show(self, text: str) -> None:
        """Say something new; the same again says nothing."""
        if text == self._text:
            return
        self._text = text
        self._draw()

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        """Keep the line moving; it is gone afterwards."""
        task = asyncio.create_task(self._redraw()) if self._terminal else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                self._stream.write(_CLEAR)
                self._stream.flush()

    async def _redraw(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_S)
            self._draw()

    def _draw(self) -> None:
        line = f"{one_line(self._text)} ({duration(self._monotonic() - self._began)})"
        self._stream.write(f"{_CLEAR}{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
