"""Exports of hosts and of system events; those of updates and history stand beside their lists."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.agent_versions import Wanted
from redflag_dashboard.api import host_lookup
from redflag_dashboard.api.records import filter_of
from redflag_dashboard.models.hosts import Host, HostsExportQuery
from redflag_dashboard.models.records import Event, EventsExportQuery
from redflag_dashboard.rest.exporting import Export, Exported, in_batches
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.queries.events import events_statement
from redflag_store.queries.hosts import export_hosts, with_figures
from redflag_store.queries.settings import read_settings

HOST_COLUMNS: Final[Mapping[str, Callable[[Host], object]]] = {
    "id": lambda host: host.id,
    "hostname": lambda host: host.hostname,
    "state": lambda host: host.state,
    "os": lambda host: host.os_name,
    "os_version": lambda host: host.os_version,
    "arch": lambda host: host.arch,
    "kernel": lambda host: host.kernel,
    "agent_version": lambda host: host.agent_version,
    "update_available": lambda host: host.update_available,
    "below_minimum": lambda host: host.below_minimum,
    "updates": lambda host: host.updates.available,
    "security_updates": lambda host: host.updates.security,
    "approved_updates": lambda host: host.updates.approved,
    "reboot_required": lambda host: host.reboot_required,
    "groups": lambda host: [group.name for group in host.groups],
    "tags": lambda host: host.tags,
    "parent": lambda host: host.parent,
    "last_seen_at": lambda host: host.last_seen_at,
    "inventory_at": lambda host: host.inventory_at,
    "created_at": lambda host: host.created_at,
}

EVENT_COLUMNS: Final[Mapping[str, Callable[[Event], object]]] = {
    "at": lambda event: event.at,
    "severity": lambda event: event.severity,
    "component": lambda event: event.component,
    "code": lambda event: event.code,
    "hostname": lambda event: event.hostname,
    "host_id": lambda event: event.host_id,
    "message": lambda event: event.message,
    "count": lambda event: event.count,
    "last_at": lambda event: event.last_at,
    "data": lambda event: event.data,
    "id": lambda event: event.id,
}


async def hosts(call: Call[Nothing, HostsExportQuery, Nothing]) -> Answer:
    """Export hosts by name."""
    async with call.parts.sessions() as session:
        wanted = await host_lookup.filter_of(session, call.query)

    async def batches(session: AsyncSession) -> AsyncIterator[Sequence[Host]]:
        versions = Wanted.of(await read_settings(session), call.parts.version)
        async for part in in_batches(session, await export_hosts(session, wanted)):
            rows = await with_figures(session, [row[0] for row in part])
            yield [Host.of(row, versions) for row in rows]

    return Answer(Nothing(), stream=Export("hosts", call.query.format, HOST_COLUMNS, batches))


async def events(call: Call[Nothing, EventsExportQuery, Nothing]) -> Answer:
    """Export system events, newest first."""
    async with call.parts.sessions() as session:
        wanted = await filter_of(session, call.query)

    async def batches(session: AsyncSession) -> AsyncIterator[Sequence[Event]]:
        async for part in in_batches(session, events_statement(wanted)):
            yield [Event.of((row[0], row[1])) for row in part]

    return Answer(Nothing(), stream=Export("events", call.query.format, EVENT_COLUMNS, batches))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/hosts/export", "hosts_export", "Export hosts", hosts, Exported[Host], Nothing, HostsExportQuery,
        Nothing, "hosts", streams=True, problems=host_lookup.FILTER_PROBLEMS,
    ),
    Route(
        "GET", "/events/export", "events_export", "Export system events", events, Exported[Event], Nothing,
        EventsExportQuery, Nothing, "events", streams=True, problems=host_lookup.PROBLEMS,
    ),
)  # fmt: skip
