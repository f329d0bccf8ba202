"""The API as an aiohttp application: all routes, the page, the description, and what is around them."""

from functools import cache
from typing import Final

from aiohttp import web

from redflag_dashboard import page
from redflag_dashboard.api import (
    about,
    cancels,
    commands,
    exports,
    fast_mode,
    groups,
    history,
    host_actions,
    host_changes,
    host_figures,
    hosts,
    installing,
    jobs,
    plans,
    records,
    retries,
    settings,
    subsystems,
    tokens,
    update_decisions,
    updates,
)
from redflag_dashboard.parts import Parts
from redflag_dashboard.rest import exporting, json_text, middleware, openapi
from redflag_dashboard.rest.binding import BODY_MAX_BYTES
from redflag_dashboard.rest.route import AnyRoute
from redflag_dashboard.rest.serve import handler_of

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *about.ROUTES,
    *hosts.ROUTES,
    *host_actions.ROUTES,
    *host_changes.ROUTES,
    *host_figures.ROUTES,
    *fast_mode.ROUTES,
    *subsystems.ROUTES,
    *settings.ROUTES,
    *groups.ROUTES,
    *exports.ROUTES,
    *updates.ROUTES,
    *update_decisions.ROUTES,
    *installing.ROUTES,
    *plans.ROUTES,
    *commands.ROUTES,
    *cancels.ROUTES,
    *jobs.ROUTES,
    *retries.ROUTES,
    *history.ROUTES,
    *records.ROUTES,
    *tokens.ROUTES,
)
"""Every operation of the API."""

OPEN_PATHS: Final = frozenset({"/", f"{openapi.PREFIX}/openapi.json", f"{openapi.PREFIX}/info"})
"""What answers without a key; a test walks everything else."""


def build_app(parts: Parts) -> web.Application:
    """The application over `parts`."""
    app = web.Application(middlewares=[middleware.around(parts)], client_max_size=BODY_MAX_BYTES)
    app[exporting.RUNNING] = exporting.Running()
    app.on_response_prepare.append(middleware.set_headers)
    for route in ROUTES:
        path = openapi.aiohttp_path(route.template)
        if route.method == "GET":
            app.router.add_get(path, handler_of(route, parts))
        else:
            app.router.add_route(route.method, path, handler_of(route, parts))
    description = _description(parts.version)
    front = page.page(parts.version)
    policy = page.policy()

    async def describe(_request: web.Request) -> web.Response:
        return web.Response(body=description, content_type=json_text.CONTENT_TYPE)

    async def show_page(_request: web.Request) -> web.Response:
        return web.Response(text=front, content_type="text/html", headers={"Content-Security-Policy": policy})

    app.router.add_get(f"{openapi.PREFIX}/openapi.json", describe)
    app.router.add_get("/", show_page)
    return app


@cache
def _description(version: str) -> bytes:
    """The OpenAPI document as JSON: made once in a process, because routes and version do not change in it."""
    return json_text.encode(openapi.document(ROUTES, version))
