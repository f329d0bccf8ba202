"""System events."""

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.api import host_lookup
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.records import Event, EventConditions, EventsQuery
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.queries.events import EventFilter, list_events


async def events(call: Call[Nothing, EventsQuery, Nothing]) -> Answer:
    """List system events, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        wanted = await filter_of(session, query)
        page = await list_events(session, wanted, after=after, limit=query.limit)
    last = page.rows[-1][0] if page.more else None
    return Answer(
        Page[Event](
            items=[Event.of(row) for row in page.rows],
            next=None if last is None else cursor.encode((last.at, last.id)),
            total=page.total,
        )
    )


async def filter_of(session: AsyncSession, given: EventConditions) -> EventFilter:
    """The filter that conditions stand for.

    Raises:
        ProblemError: `host_not_found`, `host_ambiguous`.
    """
    return EventFilter(
        agent_id=await host_lookup.host_id(session, given.host),
        at_least=given.severity,
        component=given.component,
        code=given.code,
        since=given.since,
        until=given.until,
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/events", "events_list", "What to know about the system and its hosts", events, Page[Event],
        Nothing, EventsQuery, Nothing, "events", problems=host_lookup.PROBLEMS,
    ),
)  # fmt: skip
