import asyncio

import pytest

from redflag_ops.tasks import LoopEndedError, run_loops


async def test_loops_end_when_told_to() -> None:
    stop = asyncio.Event()
    ended = []

    async def loop(name: str) -> None:
        await stop.wait()
        ended.append(name)

    asyncio.get_running_loop().call_soon(stop.set)
    await run_loops(stop, {"a": loop("a"), "b": loop("b")})
    assert sorted(ended) == ["a", "b"]


async def test_a_dead_loop_ends_the_others_and_its_error_comes_out() -> None:
    stop = asyncio.Event()
    cancelled = asyncio.Event()

    async def dies() -> None:
        raise OSError("the broker went away")

    async def waits() -> None:
        try:
            await stop.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(OSError, match="broker went away"):
        await run_loops(stop, {"dies": dies(), "waits": waits()})
    assert cancelled.is_set()


async def test_a_loop_that_returns_early_is_a_fault() -> None:
    async def returns() -> None:
        return

    with pytest.raises(LoopEndedError, match="'short'"):
        await run_loops(asyncio.Event(), {"short": returns()})
