"""Hears what the database announces and wakes who it concerns; without notices every loop looks by itself."""

import asyncio
from collections.abc import Callable, Mapping

from redflag_ops.logging import get_logger
from redflag_store.listen import Listener

_log = get_logger()


async def listen(database_url: str, act: Mapping[str, Callable[[], None]], stop: asyncio.Event) -> None:
    """Call what stands for a channel when a notice comes on it, and everything when some were lost.

    Args:
        database_url: a connection of its own is opened and kept.
        act: channel -> what to do; it must be quick.
        stop: ends it.
    """

    def on_error(error: Exception) -> None:
        _log.warning("listen.fault", error=str(error) or type(error).__name__)

    async with Listener(
        database_url, list(act), poll_s=1.0, application_name="redflag-dispatcher-listen", on_error=on_error
    ) as listener:
        while not stop.is_set():
            wake = await listener.wait()
            heard = set(act) if wake.lost else {notice.channel for notice in wake.notices}
            for channel in sorted(heard & set(act)):
                act[channel]()
