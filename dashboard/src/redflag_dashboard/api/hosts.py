"""Hosts, the fleet's figures, and asking a host to look for updates."""

from datetime import timedelta
from typing import Final

from redflag_dashboard.agent_versions import Wanted
from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.capabilities import managers
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.common import HostPath, Page
from redflag_dashboard.models.hosts import HOST_SUBSYSTEMS, Fleet, Host, HostsQuery, ScanRequest
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store.queries.hosts import fleet_figures, list_hosts
from redflag_store.queries.settings import read_settings
from redflag_wire.command_params import CommandKind, ScanParams
from redflag_wire.intent import IntentVerb

SEEN_LATELY: Final = timedelta(minutes=15)  # three times the usual five minutes between polls


async def list_(call: Call[Nothing, HostsQuery, Nothing]) -> Answer:
    """List hosts by name."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.NAME_KEY)
    async with call.parts.sessions() as session:
        wanted = await host_lookup.filter_of(session, query)
        page = await list_hosts(session, wanted, after=after, limit=query.limit)
        versions = Wanted.of(await read_settings(session), call.parts.version)
    last = page.rows[-1].agent if page.more else None
    return Answer(
        Page[Host](
            items=[Host.of(row, versions) for row in page.rows],
            next=None if last is None else cursor.encode((last.hostname, last.id)),
            total=page.total,
        )
    )


async def show(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """Show one host."""
    async with call.parts.sessions() as session:
        versions = Wanted.of(await read_settings(session), call.parts.version)
        return Answer(Host.of(await host_lookup.one_host(session, call.path.host), versions))


async def scan(call: Call[HostPath, Nothing, ScanRequest]) -> Answer:
    """Ask a host to look for updates."""
    host = await host_lookup.one_host(call.tx, call.path.host)
    known = managers(host.agent.capabilities)
    if call.body.subsystem not in (*HOST_SUBSYSTEMS, *known) and known:
        raise ProblemError(
            ProblemCode.MANAGER_UNKNOWN,
            f"{host.agent.hostname} has no package manager {call.body.subsystem!r}; "
            f"name one of: {', '.join((*known, *HOST_SUBSYSTEMS))}",
            extra={"managers": known},
        )
    params = ScanParams(subsystem=call.body.subsystem, refresh=call.body.refresh, full=call.body.full)
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.SCAN,
        kind=CommandKind.SCAN,
        params=params,
    )
    return await commanding.accepted(call, command_id)


async def fleet(call: Call[Nothing, Nothing, Nothing]) -> Answer:
    """Count everything."""
    async with call.parts.sessions() as session:
        figures = await fleet_figures(session, call.parts.clock.now() - SEEN_LATELY)
    return Answer(Fleet.of(call.parts.fleet, figures, int(SEEN_LATELY.total_seconds())))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/fleet", "fleet_show", "The figures of the whole fleet", fleet, Fleet, Nothing, Nothing, Nothing,
        "hosts",
    ),
    Route(
        "GET", "/hosts", "hosts_list", "List hosts", list_, Page[Host], Nothing, HostsQuery, Nothing, "hosts",
        problems=host_lookup.FILTER_PROBLEMS,
    ),
    Route(
        "GET", "/hosts/{host}", "hosts_show", "Show a host", show, Host, HostPath, Nothing, Nothing, "hosts",
        problems=host_lookup.PROBLEMS,
    ),
    Route(
        "POST", "/hosts/{host}/scan", "hosts_scan", "Look for updates now", scan, Command, HostPath, Nothing,
        ScanRequest, "hosts", status=202, scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.PROBLEMS, *commanding.PROBLEMS, ProblemCode.MANAGER_UNKNOWN),
    ),
)  # fmt: skip
