"""Subsystems of hosts, and the defaults of the fleet and of groups. Every change is a signed intent."""

from typing import Final

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.models.common import HostPath, Page
from redflag_dashboard.models.subsystems import (
    ChangedDefault,
    ChangedSubsystem,
    DefaultChange,
    DefaultPath,
    DefaultsQuery,
    Subsystem,
    SubsystemDefault,
    SubsystemPath,
    ValuesChange,
)
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store.queries import subsystems as queries
from redflag_store.queries.subsystems import DefaultRow, HostSubsystem
from redflag_wire.ids import new_id
from redflag_wire.intent import IntentVerb

PROBLEMS: Final = (*host_lookup.PROBLEMS, ProblemCode.SUBSYSTEM_NOT_FOUND)


async def list_(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """List a host's subsystems by name; a host has few, so they come at once."""
    async with call.parts.sessions() as session:
        host = await host_lookup.one_host(session, call.path.host)
        found = await queries.host_subsystems(session, host.agent.id)
    return Answer(Page[Subsystem](items=[Subsystem.of(one) for one in found], next=None, total=len(found)))


async def show(call: Call[SubsystemPath, Nothing, Nothing]) -> Answer:
    """Show one of a host's subsystems."""
    async with call.parts.sessions() as session:
        host = await host_lookup.one_host(session, call.path.host)
        found = await queries.host_subsystems(session, host.agent.id)
    return Answer(Subsystem.of(_one(call.path.subsystem, host.agent.hostname, found)))


async def change(call: Call[SubsystemPath, Nothing, ValuesChange]) -> Answer:
    """Set a host's own values of a subsystem."""
    values = _some(call.body)
    name = call.path.subsystem
    host = await host_lookup.one_host(call.tx, call.path.host)
    agent = host.agent
    intent = commanding.intent_of(
        call, IntentVerb.CHANGE_SUBSYSTEM, [agent.id], {"subsystem": name, "values": values}
    )
    await commanding.store(call, intent)
    await queries.change_host_subsystem(
        call.tx, agent.id, name, values, changed_by=call.operator, at=call.parts.clock.now()
    )
    found = _one(name, agent.hostname, await queries.host_subsystems(call.tx, agent.id))
    return Answer(ChangedSubsystem(subsystem=Subsystem.of(found), intent_id=intent.id))


async def list_defaults(call: Call[Nothing, DefaultsQuery, Nothing]) -> Answer:
    """List defaults by subsystem."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.NAME_KEY)
    async with call.parts.sessions() as session:
        group = None if query.group is None else (await host_lookup.one_group(session, query.group)).group.id
        page = await queries.list_defaults(
            session,
            name=query.subsystem,
            group_id=group,
            fleet_only=bool(query.fleet),
            after=after,
            limit=query.limit,
        )
    last = page.rows[-1].row if page.more else None
    return Answer(
        Page[SubsystemDefault](
            items=[SubsystemDefault.of(row) for row in page.rows],
            next=None if last is None else cursor.encode((last.name, last.id)),
            total=page.total,
        )
    )


async def change_default(call: Call[DefaultPath, Nothing, DefaultChange]) -> Answer:
    """Set values for all hosts, or for a group's."""
    body, parts, name = call.body, call.parts, call.path.subsystem
    values = body.values() if body.priority is not None else _some(body)
    group = None if body.group is None else (await host_lookup.one_group(call.tx, body.group)).group
    if group is None and body.priority is not None:
        raise ProblemError(
            ProblemCode.INVALID_REQUEST,
            "body/priority: only a group's default has one; name the group",
            extra={"errors": [{"where": "body/priority", "message": "only a group's default has one"}]},
        )
    asked = {
        "subsystem": name,
        "group": None if group is None else str(group.id),
        "values": values,
        "priority": body.priority,
    }
    intent = commanding.intent_of(call, IntentVerb.CHANGE_SUBSYSTEM, [], asked)
    await commanding.store(call, intent)
    row = await queries.change_default(
        call.tx,
        new_id=new_id(parts.clock, parts.random),
        name=name,
        group_id=None if group is None else group.id,
        values=values,
        priority=body.priority,
        changed_by=call.operator,
        at=parts.clock.now(),
    )
    found = None if row is None else DefaultRow(row, None if group is None else group.name)
    return Answer(
        ChangedDefault(default=None if found is None else SubsystemDefault.of(found), intent_id=intent.id)
    )


def _some(body: ValuesChange) -> dict[str, bool | int | None]:
    values = body.values()
    if not values:
        raise ProblemError(
            ProblemCode.NOTHING_TO_DO, "name at least one value to set, or null to set it no longer"
        )
    return values


def _one(name: str, hostname: str, found: list[HostSubsystem]) -> HostSubsystem:
    for one in found:
        if one.row.name == name:
            return one
    known = [one.row.name for one in found]
    there = f"it has: {', '.join(known)}" if known else "it has none yet; try again in a moment"
    raise ProblemError(
        ProblemCode.SUBSYSTEM_NOT_FOUND,
        f"{hostname} has no subsystem {name!r}; {there}",
        extra={"subsystems": known},
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/hosts/{host}/subsystems", "subsystems_list", "List a host's subsystems", list_, Page[Subsystem],
        HostPath, Nothing, Nothing, "subsystems", problems=host_lookup.PROBLEMS,
    ),
    Route(
        "GET", "/hosts/{host}/subsystems/{subsystem}", "subsystems_show", "Show a host's subsystem", show,
        Subsystem, SubsystemPath, Nothing, Nothing, "subsystems", problems=PROBLEMS,
    ),
    Route(
        "POST", "/hosts/{host}/subsystems/{subsystem}", "subsystems_change", "Set a host's own values", change,
        ChangedSubsystem, SubsystemPath, Nothing, ValuesChange, "subsystems", scope=Scope.WRITE, changes=True,
        problems=(*PROBLEMS, ProblemCode.NOTHING_TO_DO),
    ),
    Route(
        "GET", "/subsystem-defaults", "subsystem_defaults_list", "List the defaults of the fleet and of groups",
        list_defaults, Page[SubsystemDefault], Nothing, DefaultsQuery, Nothing, "subsystems",
        problems=host_lookup.GROUP_PROBLEMS,
    ),
    Route(
        "POST", "/subsystem-defaults/{subsystem}", "subsystem_defaults_change",
        "Set values for all hosts, or for a group's", change_default, ChangedDefault, DefaultPath, Nothing,
        DefaultChange, "subsystems", scope=Scope.ADMIN, changes=True,
        problems=(*host_lookup.GROUP_PROBLEMS, ProblemCode.NOTHING_TO_DO),
    ),
)  # fmt: skip
