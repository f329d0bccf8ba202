"""What needs no key: what answers here, the API's description, and the page that says where things are."""

from redflag_dashboard.models.records import Info
from redflag_dashboard.rest.openapi import PREFIX
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route


async def info(call: Call[Nothing, Nothing, Nothing]) -> Answer:
    """Say what answers here; no database is asked."""
    parts = call.parts
    return Answer(Info(name="redflag", version=parts.version, api=PREFIX, time=parts.clock.now()))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/info", "info", "What answers here", info, Info, Nothing, Nothing, Nothing, "about", scope=None,
    ),
)  # fmt: skip
