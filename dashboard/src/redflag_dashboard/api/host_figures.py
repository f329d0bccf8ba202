"""How a host is doing: now, its volumes and disks, and over time."""

from datetime import datetime, timedelta
from typing import Final

from redflag_dashboard.api import host_lookup
from redflag_dashboard.models.common import HostPath
from redflag_dashboard.models.host_figures import (
    STEP_MAX_S,
    STEP_MIN_S,
    Metrics,
    MetricsPoint,
    MetricsQuery,
    Storage,
    System,
)
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.queries import host_figures as queries
from redflag_store.queries.host_figures import POINTS_MAX

SPAN: Final = timedelta(hours=24)  # when nobody says since when
POINTS: Final = 300  # when nobody says how long a step is


async def system(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """Show how a host is doing."""
    async with call.parts.sessions() as session:
        agent = (await host_lookup.one_host(session, call.path.host)).agent
        found = await queries.host_system(session, agent.id)
    if found is None:
        raise _never(agent.hostname, "system")
    return Answer(System.of(agent.hostname, found))


async def storage(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """Show a host's volumes and disks."""
    async with call.parts.sessions() as session:
        agent = (await host_lookup.one_host(session, call.path.host)).agent
        found = await queries.host_storage(session, agent.id)
    if found is None:
        raise _never(agent.hostname, "storage")
    return Answer(Storage.of(agent.hostname, *found))


async def metrics(call: Call[HostPath, MetricsQuery, Nothing]) -> Answer:
    """Show a host's history."""
    until = call.query.until or call.parts.clock.now()
    since = call.query.since or until - SPAN
    step_s = step_of(since, until, call.query.step)
    async with call.parts.sessions() as session:
        agent = (await host_lookup.one_host(session, call.path.host)).agent
        points = await queries.host_metrics(session, agent.id, since=since, until=until, step_s=step_s)
    return Answer(
        Metrics(
            host_id=agent.id,
            hostname=agent.hostname,
            since=since,
            until=until,
            step_s=step_s,
            points=[MetricsPoint.of(one) for one in points],
        )
    )


def step_of(since: datetime, until: datetime, asked_s: int | None) -> int:
    """The seconds one point stands for.

    Raises:
        ProblemError: `invalid_request`, when there is no time between the two or there would be too many points.
    """
    span_s = (until - since).total_seconds()
    if span_s <= 0:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "query/since: not before until")
    if asked_s is None:
        minutes = -(-int(span_s) // (POINTS * STEP_MIN_S))
        return min(max(1, minutes) * STEP_MIN_S, STEP_MAX_S)
    if span_s / asked_s > POINTS_MAX - 1:
        least = int(span_s // (POINTS_MAX - 1)) + 1
        raise ProblemError(
            ProblemCode.INVALID_REQUEST,
            f"query/step: more than {POINTS_MAX} points; ask for a step of {least} s or more, or for less time",
        )
    return asked_s


def _never(hostname: str, what: str) -> ProblemError:
    return ProblemError(
        ProblemCode.NO_FIGURES,
        f"{hostname} never said; a scan of {what} asks it",
        extra={"subsystem": what},
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/hosts/{host}/system", "hosts_system", "How a host is doing", system, System, HostPath, Nothing,
        Nothing, "hosts", problems=(*host_lookup.PROBLEMS, ProblemCode.NO_FIGURES),
    ),
    Route(
        "GET", "/hosts/{host}/storage", "hosts_storage", "A host's volumes and disks", storage, Storage, HostPath,
        Nothing, Nothing, "hosts", problems=(*host_lookup.PROBLEMS, ProblemCode.NO_FIGURES),
    ),
    Route(
        "GET", "/hosts/{host}/metrics", "hosts_metrics", "How a host was doing over time", metrics, Metrics,
        HostPath, MetricsQuery, Nothing, "hosts", problems=host_lookup.PROBLEMS,
    ),
)  # fmt: skip
