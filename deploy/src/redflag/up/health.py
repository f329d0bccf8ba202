"""Watching what runs: a program that lives and is not ready is reported when that begins and when it is over.

Nothing is restarted for it: a program that waits for another one, for example for the database, gets well by
itself, and one that cannot ends and is started again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from redflag.up.reporter import Reporter

INTERVAL_S = 5.0
AGAINST_NOISE = 2  # that many bad answers in a row before anything is said: a restart is reported elsewhere

Ask = Callable[[], Awaitable[str | None]]


class HealthWatch:
    """Asks every program in turn, for ever.

    Args:
        asks: program -> its readiness: None, or the reason why not.
        reporter: is told of changes.
    """

    def __init__(self, asks: Mapping[str, Ask], reporter: Reporter) -> None:
        self._asks = dict(asks)
        self._reporter = reporter
        self._bad = dict.fromkeys(asks, 0)

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look()

    async def look(self) -> None:
        """Ask each program once and report what changed."""
        for name, ask in self._asks.items():
            self._note(name, await ask())

    def _note(self, name: str, reason: str | None) -> None:
        before = self._bad[name]
        self._bad[name] = 0 if reason is None else min(before + 1, AGAINST_NOISE)
        if reason is None and before == AGAINST_NOISE:
            self._reporter.report("program.well", f"  {name} is well again", name=name)
        elif self._bad[name] == AGAINST_NOISE and before < AGAINST_NOISE:
            self._reporter.report(
                "program.unwell", f"  {name} is not well: {reason}", level="warning", name=name, reason=reason
            )
