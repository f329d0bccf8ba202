"""Every read of available updates: lists, counts over everything, the updates of one host.

No other module of the store and no program reads `package_state` to show it, so that how updates are held can change
(docs/adr/0007) without anybody noticing.

Guarantees: no list, filter or count over the fleet reads all of `package_state`. The tallies, kept by triggers, say
which packages have rows that match and how many; the rows of a page are then read by index. What is asked of one host,
or of the hosts of a filter, is read by their keys.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, cast, func, literal_column, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from redflag_store.queries import host_filter
from redflag_store.queries.host_filter import HostFilter
from redflag_store.queries.like import contains
from redflag_store.queries.tallies import hosts_with_open_updates
from redflag_store.states import Availability, PackageUpdateState
from redflag_store.tables import Agent, PackageState, UpdateTally

S: Final = PackageUpdateState

AT_REST: Final = frozenset({S.UPDATED, S.REJECTED, S.IGNORED})
"""States in which an update asks for nothing; an approval has nothing to hold on to."""

HOSTS_COUNTED_MAX: Final = 50_000  # open updates under a filter up to which their hosts are counted

Table = type[PackageState] | type[UpdateTally]

UpdateKey = tuple[str, str, str, UUID]
"""Package name, manager, architecture, host: the order of every list."""


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """An update, and the host it is for."""

    package: PackageState
    hostname: str

    @property
    def state(self) -> str:
        """The state to show."""
        return self.package.state


@dataclass(frozen=True, slots=True)
class UpdateFilter:
    """What to list; None means no filter, and all that is given must hold.

    Attributes:
        agent_id: of one host.
        hosts: of these hosts.
        state: without one, `updated` is left out.
        security: only (or never) security updates.
        severity: only of this severity.
        availability: only with this standing at the package manager.
        manager: only of this package manager.
        name: text the package's name contains.
        package: the package's exact name.
        candidate: the exact candidate.
    """

    agent_id: UUID | None = None
    hosts: HostFilter | None = None
    state: str | None = None
    security: bool | None = None
    severity: str | None = None
    availability: str | None = None
    manager: str | None = None
    name: str | None = None
    package: str | None = None
    candidate: str | None = None

    @property
    def of_some_hosts(self) -> bool:
        """Whether it names hosts, so that their keys lead to the rows."""
        return self.agent_id is not None or (self.hosts is not None and not self.hosts.is_empty)


@dataclass(frozen=True, slots=True)
class UpdatePage:
    """A page of updates; `total` counts all that match, `more` says whether others follow."""

    rows: list[UpdateRow]
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class UpdateCounts:
    """Counts over everything the host, manager and name filters leave, whatever state or page is looked at.

    Attributes:
        by_state: state -> count, `updated` included.
        by_severity: severity -> count of those not at rest; "" for those whose distribution gives none.
        security: security updates that are not at rest.
        held_back: not at rest, but held, kept back, phased or pinned by the package manager.
        hosts: hosts with at least one update not at rest; None when a name filter leaves too many to count.
    """

    by_state: Mapping[str, int]
    by_severity: Mapping[str, int]
    security: int
    held_back: int
    hosts: int | None


def _same_columns(table: Table, wanted: UpdateFilter) -> list[ColumnElement[bool]]:
    """The conditions that package_state and its tally share, but for state, security and the like."""
    filters: list[ColumnElement[bool]] = []
    if wanted.manager is not None:
        filters.append(col(table.manager) == wanted.manager)
    if wanted.name:
        filters.append(contains(col(table.name), wanted.name))
    if wanted.package is not None:
        filters.append(col(table.name) == wanted.package)
    return filters


def _kinds(table: Table, wanted: UpdateFilter) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = [
        # The predicate of the partial index, word by word.
        col(table.state) != literal_column("'updated'")
        if wanted.state is None
        else col(table.state) == wanted.state
    ]
    if wanted.security is not None:
        filters.append(col(table.security).is_(wanted.security))
    if wanted.severity is not None:
        filters.append(col(table.severity) == wanted.severity)
    if wanted.availability is not None:
        filters.append(col(table.availability) == wanted.availability)
    return filters


async def _of_hosts(session: AsyncSession, wanted: UpdateFilter) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if wanted.agent_id is not None:
        filters.append(col(PackageState.agent_id) == wanted.agent_id)
    if wanted.hosts is not None:
        filters.extend(await host_filter.conditions(session, wanted.hosts))
    return filters


_KEY: Final = (
    col(PackageState.name),
    col(PackageState.manager),
    col(PackageState.arch),
    col(PackageState.agent_id),
)


def _joined(statement: Any) -> Any:  # noqa: ANN401 - of any columns
    return statement.join(Agent, col(Agent.id) == col(PackageState.agent_id))


async def list_updates(
    session: AsyncSession, wanted: UpdateFilter, *, after: UpdateKey | None, limit: int
) -> UpdatePage:
    """A page of updates by (name, manager, architecture, host)."""
    if wanted.of_some_hosts or wanted.candidate is not None:
        return await _list_of_hosts(session, wanted, after=after, limit=limit)
    total = await session.scalar(
        select(func.coalesce(func.sum(col(UpdateTally.hosts)), 0)).where(
            *_same_columns(UpdateTally, wanted), *_kinds(UpdateTally, wanted)
        )
    )
    rows: list[UpdateRow] = []
    start = after
    while len(rows) <= limit:
        keys = await _packages_with_rows(session, wanted, start, limit + 2)
        if not keys:
            break
        rows.extend(await _rows_of(session, wanted, keys, start, limit + 1 - len(rows)))
        start = (*keys[-1], _LAST_ID)
    return UpdatePage(rows[:limit], int(total or 0), len(rows) > limit)


_LAST_ID: Final = UUID(int=2**128 - 1)


async def _packages_with_rows(
    session: AsyncSession, wanted: UpdateFilter, start: UpdateKey | None, limit: int
) -> list[tuple[str, str, str]]:
    """The next packages that have matching rows, by the tally; enough of them for `limit` rows, at most that many."""
    key = (col(UpdateTally.name), col(UpdateTally.manager), col(UpdateTally.arch))
    statement = (
        select(*key, func.sum(col(UpdateTally.hosts)))
        .where(*_same_columns(UpdateTally, wanted), *_kinds(UpdateTally, wanted))
        .group_by(*key)
        .having(func.sum(col(UpdateTally.hosts)) > 0)
        .order_by(*key)
        .limit(limit)
    )
    if start is not None:
        # Of the first package only rows behind the cursor's host are left, perhaps none.
        behind = tuple_(*key) > start[:3] if start[3] == _LAST_ID else tuple_(*key) >= start[:3]
        statement = statement.where(behind)
    keys: list[tuple[str, str, str]] = []
    enough = 0
    for name, manager, arch, hosts in (await session.execute(statement)).all():
        keys.append((name, manager, arch))
        enough += 0 if start is not None and keys[-1] == start[:3] else int(hosts)
        if enough >= limit:
            break
    return keys


async def _rows_of(
    session: AsyncSession,
    wanted: UpdateFilter,
    keys: list[tuple[str, str, str]],
    start: UpdateKey | None,
    limit: int,
) -> list[UpdateRow]:
    columns = [cast([key[part] for key in keys], ARRAY(Text)) for part in range(3)]
    named = func.unnest(*columns).table_valued("name", "manager", "arch").render_derived(name="k")
    matching = (
        select(PackageState)
        .where(
            col(PackageState.name) == named.c.name,
            col(PackageState.manager) == named.c.manager,
            col(PackageState.arch) == named.c.arch,
            *_kinds(PackageState, wanted),
            *([tuple_(*_KEY) > start] if start is not None else []),
        )
        .order_by(col(PackageState.agent_id))
        .limit(limit)
        .lateral("p")
    )
    package: Any = aliased(PackageState, matching)
    found = await session.execute(
        select(package, col(Agent.hostname))
        .select_from(named)
        .join(matching, true())
        .join(Agent, col(Agent.id) == package.agent_id)
        .order_by(package.name, package.manager, package.arch, package.agent_id)
        .limit(limit)
    )
    return [UpdateRow(*row) for row in found.all()]


async def _list_of_hosts(
    session: AsyncSession, wanted: UpdateFilter, *, after: UpdateKey | None, limit: int
) -> UpdatePage:
    filters = [
        *await _of_hosts(session, wanted),
        *_same_columns(PackageState, wanted),
        *_kinds(PackageState, wanted),
    ]
    if wanted.candidate is not None:
        filters.append(col(PackageState.candidate) == wanted.candidate)
    total = await session.scalar(_joined(select(func.count()).select_from(PackageState)).where(*filters))
    statement = _joined(select(PackageState, col(Agent.hostname))).where(*filters)
    if after is not None:
        statement = statement.where(tuple_(*_KEY) > after)
    found = (await session.execute(statement.order_by(*_KEY).limit(limit + 1))).all()
    return UpdatePage([UpdateRow(*row) for row in found[:limit]], total or 0, len(found) > limit)


async def count_updates(session: AsyncSession, wanted: UpdateFilter) -> UpdateCounts:
    """The counts; state, security, severity, availability and page of `wanted` do not narrow them."""
    table: Any = PackageState if wanted.of_some_hosts else UpdateTally
    number = func.count() if wanted.of_some_hosts else func.sum(col(UpdateTally.hosts))
    properties = (col(table.state), col(table.security), col(table.severity), col(table.availability))
    statement = select(*properties, number).select_from(table).where(*_same_columns(table, wanted))
    if wanted.of_some_hosts:
        statement = _joined(statement).where(*await _of_hosts(session, wanted))
    by_state: dict[str, int] = {}
    by_severity: dict[str, int] = {}
    security = held_back = open_ = 0
    for state, is_security, severity, availability, count in await session.execute(
        statement.group_by(*properties)
    ):
        rows = int(count)
        by_state[state] = by_state.get(state, 0) + rows
        if state in AT_REST:
            continue
        open_ += rows
        security += rows if is_security else 0
        held_back += rows if availability != Availability.AVAILABLE else 0
        by_severity[severity or ""] = by_severity.get(severity or "", 0) + rows
    return UpdateCounts(
        {state: rows for state, rows in by_state.items() if rows},
        {severity: rows for severity, rows in by_severity.items() if rows},
        security,
        held_back,
        await _count_hosts(session, wanted, open_),
    )


async def _count_hosts(session: AsyncSession, wanted: UpdateFilter, open_: int) -> int | None:
    if wanted.agent_id is not None:
        return int(open_ > 0)
    narrowed = _same_columns(PackageState, wanted)
    if not narrowed and not wanted.of_some_hosts:
        return await hosts_with_open_updates(session)
    if open_ > HOSTS_COUNTED_MAX:
        return None
    if not open_:
        return 0
    if not wanted.of_some_hosts:
        key = (col(UpdateTally.name), col(UpdateTally.manager), col(UpdateTally.arch))
        packages = select(*key).where(*_same_columns(UpdateTally, wanted)).group_by(*key)
        narrowed = [tuple_(*_KEY[:3]).in_(packages)]
    hosts = await session.scalar(
        _joined(
            select(func.count(func.distinct(col(PackageState.agent_id)))).select_from(PackageState)
        ).where(
            col(PackageState.state) != literal_column("'updated'"),
            col(PackageState.state).not_in(sorted(AT_REST - {S.UPDATED})),
            *narrowed,
            *await _of_hosts(session, wanted),
        )
    )
    return hosts or 0


async def updates_of_host(
    session: AsyncSession, agent_id: UUID, names: Collection[str] | None = None, *, at_rest: bool = False
) -> list[UpdateRow]:
    """The updates of one host, at most the 20,000 an inventory may list.

    Args:
        session: to read with.
        agent_id: the host.
        names: only of these package names; None for all.
        at_rest: those that are `updated` too.
    """
    statement = _joined(select(PackageState, col(Agent.hostname))).where(
        col(PackageState.agent_id) == agent_id
    )
    if not at_rest:
        statement = statement.where(col(PackageState.state) != S.UPDATED.value)
    if names is not None:
        statement = statement.where(col(PackageState.name).in_(list(names)))
    key = (col(PackageState.manager), col(PackageState.name), col(PackageState.arch))
    # What a bulk statement of the same session changed is read again, not remembered.
    fresh = {"populate_existing": True}
    found = await session.execute(statement.order_by(*key), execution_options=fresh)
    return [UpdateRow(*row) for row in found.all()]


async def updates_of_package(
    session: AsyncSession, wanted: UpdateFilter, *, limit: int, agents: Collection[UUID] | None = None
) -> list[UpdateRow]:
    """The updates of one package wherever it is listed, by host; at most `limit`.

    Args:
        session: to read with.
        wanted: with `package`.
        limit: rows.
        agents: only of these hosts.
    """
    filters = [
        *await _of_hosts(session, wanted),
        *_same_columns(PackageState, wanted),
        *_kinds(PackageState, wanted),
    ]
    if wanted.candidate is not None:
        filters.append(col(PackageState.candidate) == wanted.candidate)
    if agents is not None:
        filters.append(col(PackageState.agent_id).in_(list(agents)))
    fresh = {"populate_existing": True}
    statement = (
        _joined(select(PackageState, col(Agent.hostname))).where(*filters).order_by(*_KEY).limit(limit)
    )
    found = await session.execute(statement, execution_options=fresh)
    return [UpdateRow(*row) for row in found.all()]


async def export_updates(session: AsyncSession, wanted: UpdateFilter) -> Any:  # noqa: ANN401 - a statement
    """The statement of all updates that match, with their hosts' names, by the order of the lists."""
    filters = [
        *await _of_hosts(session, wanted),
        *_same_columns(PackageState, wanted),
        *_kinds(PackageState, wanted),
    ]
    if wanted.candidate is not None:
        filters.append(col(PackageState.candidate) == wanted.candidate)
    return _joined(select(PackageState, col(Agent.hostname))).where(*filters).order_by(*_KEY)
