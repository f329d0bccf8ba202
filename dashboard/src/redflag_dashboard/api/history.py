"""History: what was done, on one host or on all of them."""

from redflag_dashboard.api import host_lookup
from redflag_dashboard.api.commands import filter_of
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.history import HistoryLine, HistoryQuery
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.queries.history import list_history


async def history(call: Call[Nothing, HistoryQuery, Nothing]) -> Answer:
    """List what was done, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        page = await list_history(session, await filter_of(session, query), after=after, limit=query.limit)
    last = page.rows[-1].row.command if page.more else None
    return Answer(
        Page[HistoryLine](
            items=[HistoryLine.of(done) for done in page.rows],
            next=None if last is None else cursor.encode((last.requested_at, last.id)),
            total=page.total,
        )
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/history", "history_list", "What was done, one line each", history, Page[HistoryLine], Nothing,
        HistoryQuery, Nothing, "history", problems=host_lookup.FILTER_PROBLEMS,
    ),
)  # fmt: skip
