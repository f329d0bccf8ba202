"""Available updates: lists, exports, and what became of each."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.api import host_lookup
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.hosts import HostConditions
from redflag_dashboard.models.updates import (
    HistoryQuery,
    Update,
    UpdateConditions,
    UpdateCounts,
    UpdateEventItem,
    UpdatesExportQuery,
    UpdatesPage,
    UpdatesQuery,
    VersionChange,
)
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.exporting import Export, Exported, in_batches
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route
from redflag_store.queries import updates as queries
from redflag_store.queries.host_filter import HostFilter
from redflag_store.queries.package_history import list_update_events, list_versions
from redflag_store.queries.updates import UpdateFilter, UpdateRow

UPDATE_COLUMNS: Final[Mapping[str, Callable[[Update], object]]] = {
    name: (lambda update, name=name: getattr(update, name))  # type: ignore[misc]
    for name in (
        "hostname", "manager", "name", "arch", "installed", "candidate", "security", "severity", "state",
        "availability", "reason", "phased_percent", "origin", "site", "trusted", "suite", "size",
        "approved_version", "first_seen_at", "changed_at", "host_id",
    )
}  # fmt: skip


async def hosts_of(
    session: AsyncSession, *, group: str | None, tag: str | None, under: str | None
) -> HostFilter | None:
    """The filter of hosts that updates are asked of; None for all.

    Raises:
        ProblemError: one of `host_lookup.FILTER_PROBLEMS`.
    """
    if group is None and tag is None and under is None:
        return None
    return await host_lookup.filter_of(session, HostConditions(group=group, tag=tag, under=under))


async def filter_of(session: AsyncSession, given: UpdateConditions) -> UpdateFilter:
    """The filter that conditions stand for.

    Raises:
        ProblemError: as `hosts_of`.
    """
    return UpdateFilter(
        agent_id=await host_lookup.host_id(session, given.host),
        hosts=await hosts_of(session, group=given.group, tag=given.tag, under=given.under),
        state=given.state,
        security=given.security,
        severity=given.severity,
        availability=given.availability,
        manager=given.manager,
        name=given.name,
        package=given.package,
        candidate=given.candidate,
    )


async def list_(call: Call[Nothing, UpdatesQuery, Nothing]) -> Answer:
    """List updates by package."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.UPDATE_KEY)
    async with call.parts.sessions() as session:
        wanted = await filter_of(session, query)
        page = await queries.list_updates(session, wanted, after=after, limit=query.limit)
        counts = await queries.count_updates(session, wanted)
    last = page.rows[-1].package if page.more else None
    return Answer(
        UpdatesPage(
            items=[Update.of(row) for row in page.rows],
            next=None if last is None else cursor.encode((last.name, last.manager, last.arch, last.agent_id)),
            total=page.total,
            counts=UpdateCounts(
                by_state=dict(counts.by_state),
                by_severity=dict(counts.by_severity),
                security=counts.security,
                held_back=counts.held_back,
                hosts=counts.hosts,
            ),
        )
    )


async def export(call: Call[Nothing, UpdatesExportQuery, Nothing]) -> Answer:
    """Export updates by package."""
    async with call.parts.sessions() as session:
        wanted = await filter_of(session, call.query)

    async def batches(session: AsyncSession) -> AsyncIterator[Sequence[Update]]:
        async for part in in_batches(session, await queries.export_updates(session, wanted)):
            yield [Update.of(UpdateRow(*row)) for row in part]

    return Answer(Nothing(), stream=Export("updates", call.query.format, UPDATE_COLUMNS, batches))


async def versions(call: Call[Nothing, HistoryQuery, Nothing]) -> Answer:
    """List what commands changed in the versions of a host's packages, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        host = await host_lookup.one_host(session, query.host)
        rows, total, more = await list_versions(
            session,
            host.agent.id,
            package=query.package,
            manager=query.manager,
            after=after,
            limit=query.limit,
        )
    return Answer(
        Page[VersionChange](
            items=[VersionChange.of(row) for row in rows],
            next=cursor.encode((rows[-1].stored_at, rows[-1].id)) if more else None,
            total=total,
        )
    )


async def events(call: Call[Nothing, HistoryQuery, Nothing]) -> Answer:
    """List everything that happened to the updates of a host, newest first."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.TIME_KEY)
    async with call.parts.sessions() as session:
        host = await host_lookup.one_host(session, query.host)
        rows, total, more = await list_update_events(
            session,
            host.agent.id,
            package=query.package,
            manager=query.manager,
            after=after,
            limit=query.limit,
        )
    return Answer(
        Page[UpdateEventItem](
            items=[UpdateEventItem.of(row) for row in rows],
            next=cursor.encode((rows[-1].at, rows[-1].id)) if more else None,
            total=total,
        )
    )


_PROBLEMS: Final = tuple(dict.fromkeys((*host_lookup.PROBLEMS, *host_lookup.FILTER_PROBLEMS)))

ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/updates", "updates_list", "List updates, with counts of all", list_, UpdatesPage, Nothing,
        UpdatesQuery, Nothing, "updates", problems=_PROBLEMS,
    ),
    Route(
        "GET", "/updates/export", "updates_export", "Export updates", export, Exported[Update], Nothing,
        UpdatesExportQuery, Nothing, "updates", streams=True, problems=_PROBLEMS,
    ),
    Route(
        "GET", "/updates/history", "updates_history", "List the versions a host's packages had", versions,
        Page[VersionChange], Nothing, HistoryQuery, Nothing, "updates", problems=host_lookup.PROBLEMS,
    ),
    Route(
        "GET", "/updates/events", "updates_events", "List what happened to a host's updates", events,
        Page[UpdateEventItem], Nothing, HistoryQuery, Nothing, "updates", problems=host_lookup.PROBLEMS,
    ),
)  # fmt: skip
