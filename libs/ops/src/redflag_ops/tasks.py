"""Named background loops under one watch: when one dies, the program ends instead of limping on."""

import asyncio
from collections.abc import Coroutine, Mapping

STOP_GRACE_S = 3.0  # what a loop gets to end by itself once stop is set


class LoopEndedError(Exception):
    """A background loop that should run for ever came to an end."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the loop '{name}' came to an end before it was told to")
        self.name = name


async def run_loops(stop: asyncio.Event, loops: Mapping[str, Coroutine[object, object, None]]) -> None:
    """Run the loops side by side until ``stop`` is set.

    Each loop watches ``stop`` itself; one that has not ended ``STOP_GRACE_S`` seconds after it is cancelled.

    Args:
        stop: set to end all of them.
        loops: each loop's name and its coroutine.

    Raises:
        LoopEndedError: a loop returned while ``stop`` was not set.
        Exception: whatever a loop raised; the others are cancelled first.
    """
    tasks = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            await task
            if not stop.is_set():
                raise LoopEndedError(task.get_name())
        if tasks:
            ended, _ = await asyncio.wait(tasks, timeout=STOP_GRACE_S)
            for task in ended:
                await task
    finally:
        stopped.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)
