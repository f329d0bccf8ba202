"""What needs no key: what answers here, the API's description, and the page that says where things are."""

from redflag_dashboard.models.records import Info, InfoBuild
from redflag_dashboard.rest.openapi import PREFIX
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_ops.build_info import build


async def info(call: Call[Nothing, Nothing, Nothing]) -> Answer:
    """Say what answers here; no database is asked."""
    parts = call.parts
    known = build()
    return Answer(
        Info(
            name="redflag",
            version=parts.version,
            build=None if known is None else InfoBuild(commit=known.commit, source=known.source),
            api=PREFIX,
            time=parts.clock.now(),
        )
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/info", "info", "What answers here", info, Info, Nothing, Nothing, Nothing, "about", scope=None,
    ),
)  # fmt: skip
