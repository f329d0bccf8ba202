"""Keeps what people should know until it can be written, and counts what comes again meanwhile.

Guarantees: memory and the rate of writing are bounded, however many strangers knock: equal notices are one entry
with a count, at most ``KINDS_MAX`` different ones are kept, and they are written once per round of the loop. A
database that is away loses nothing but what comes beyond that bound, and that is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.refusal_notices import COMPONENT, Notice
from redflag_ops.build_info import build, release
from redflag_ops.logging import get_logger
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.states import Severity
from redflag_wire.clock import Clock

KINDS_MAX = 256  # different notices kept between two rounds

_log = get_logger()


def started() -> Notice:
    """The notice that this program runs, with what exactly runs."""
    known = build()
    release_ = release("redflag-dispatcher")
    data = {"version": release_, "commit": None if known is None else known.commit}
    return Notice(Severity.INFO, "dispatcher", "started", f"dispatcher {release_} started", data)


@dataclass(slots=True)
class _Kept:
    notice: Notice
    at: datetime
    count: int = 1


class Noticed:
    """Notices of one program; ``step`` writes them.

    Args:
        maker: of the database's sessions.
        clock: the server's.
        new_id: makes UUIDv7 keys.
    """

    def __init__(
        self, maker: async_sessionmaker[AsyncSession], *, clock: Clock, new_id: Callable[[], UUID]
    ) -> None:
        self._maker = maker
        self._clock = clock
        self._new_id = new_id
        self._kept: dict[tuple[str, str, str], _Kept] = {}
        self._dropped = 0

    def note(self, notice: Notice) -> None:
        """Keep a notice; an equal one only counts, and its data are the ones kept."""
        key = (notice.component, notice.code, notice.message)
        held = self._kept.get(key)
        if held is not None:
            held.notice, held.count = notice, held.count + 1
        elif len(self._kept) < KINDS_MAX:
            self._kept[key] = _Kept(notice, self._clock.now())
        else:
            self._dropped += 1

    async def step(self) -> bool:
        """Write what is kept; what cannot be written now is kept for the next round."""
        if not self._kept:
            return False
        kept, dropped = dict(self._kept), self._dropped
        rows = [
            EventRow(
                self._new_id(),
                one.at,
                one.notice.severity,
                one.notice.component,
                one.notice.code,
                one.notice.message,
                None,
                one.notice.data,
                one.count,
            )
            for one in kept.values()
        ]
        if dropped:
            message = "more different notices came at once than are kept"
            rows.append(
                EventRow(
                    self._new_id(), self._clock.now(), Severity.WARNING, COMPONENT, "notices_dropped", message,
                    None, {}, dropped,
                )
            )  # fmt: skip
        counts = {key: one.count for key, one in kept.items()}
        async with self._maker() as session, session.begin():
            await write_events(session, rows)
        self._dropped -= dropped
        for key, count in counts.items():
            held = self._kept[key]
            held.count -= count  # what came while this was written is for the next round
            if held.count <= 0:
                del self._kept[key]
        return False

    async def last(self) -> None:
        """Write what is left when the program stops; a database that is away by then is only logged."""
        try:
            await self.step()
        except Exception as error:  # noqa: BLE001 - the program ends; the log has the refusals themselves
            _log.warning("notices.lost", count=len(self._kept), error=type(error).__name__)
