"""Writes into the system events that the dashboard runs, as soon as the database takes it."""

import asyncio
from typing import Final

from redflag_dashboard.parts import Parts
from redflag_ops.build_info import build
from redflag_ops.logging import get_logger
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.queries.transient import TRANSIENT
from redflag_store.states import Severity
from redflag_wire.ids import new_id

RETRY_S: Final = 5.0
COMPONENT: Final = "dashboard"

_log = get_logger()


async def announce(parts: Parts, stop: asyncio.Event) -> None:
    """Write that this program started, trying until it works; then wait for ``stop``."""
    known = build()
    event = EventRow(
        new_id(parts.clock, parts.random),
        parts.clock.now(),
        Severity.INFO,
        COMPONENT,
        "started",
        f"dashboard {parts.version} started",
        data={"version": parts.version, "commit": None if known is None else known.commit},
    )
    while not stop.is_set():
        try:
            async with parts.sessions() as session, session.begin():
                await write_events(session, [event])
            break
        except TRANSIENT as error:
            _log.info("announce.waiting", error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), RETRY_S)
        except TimeoutError:
            continue
    await stop.wait()
