"""Groups of hosts: making, changing, listing them, and who is in them. Every change is a signed intent."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.groups import (
    Deleted,
    Group,
    GroupChange,
    GroupPath,
    GroupRequest,
    GroupsQuery,
    Membership,
    MembersRequest,
)
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.openapi import PREFIX
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store.queries import groups as queries
from redflag_store.queries.groups import GroupExistsError, GroupRow, TooManyGroupsError
from redflag_store.queries.subsystems import replan_group, replan_members
from redflag_store.tables import AgentGroup
from redflag_wire.ids import new_id
from redflag_wire.intent import IntentVerb


async def list_(call: Call[Nothing, GroupsQuery, Nothing]) -> Answer:
    """List groups by name."""
    query = call.query
    after = cursor.decode(query.cursor, cursor.NAME_KEY)
    async with call.parts.sessions() as session:
        page = await queries.list_groups(session, q=query.q, after=after, limit=query.limit)
    last = page.rows[-1].group if page.more else None
    return Answer(
        Page[Group](
            items=[Group.of(row) for row in page.rows],
            next=None if last is None else cursor.encode((last.name, last.id)),
            total=page.total,
        )
    )


async def show(call: Call[GroupPath, Nothing, Nothing]) -> Answer:
    """Show one group."""
    async with call.parts.sessions() as session:
        return Answer(Group.of(await host_lookup.one_group(session, call.path.group)))


async def create(call: Call[Nothing, Nothing, GroupRequest]) -> Answer:
    """Make a group."""
    body, parts = call.body, call.parts
    group = AgentGroup(
        id=new_id(parts.clock, parts.random),
        name=body.name,
        description=body.description,
        created_at=parts.clock.now(),
        created_by=call.operator,
    )
    await _sign(call, "create", group, [], {"description": body.description})
    try:
        await queries.create_group(call.tx, group)
    except GroupExistsError as error:
        raise _exists(error) from None
    except TooManyGroupsError as error:
        raise ProblemError(ProblemCode.TOO_MANY_GROUPS, f"{error}; delete one first") from None
    location = f"{PREFIX}/groups/{group.id}"
    return Answer(Group.of(GroupRow(group, 0)), status=201, headers={"Location": location})


async def change(call: Call[GroupPath, Nothing, GroupChange]) -> Answer:
    """Rename or describe a group."""
    body = call.body
    row = await host_lookup.one_group(call.tx, call.path.group)
    if body.name is None and body.description is None:
        raise ProblemError(ProblemCode.NOTHING_TO_DO, "give a name or a description")
    asked = body.model_dump(mode="json", exclude_none=True)
    await _sign(call, "change", row.group, [], {"to": asked})
    try:
        await queries.change_group(call.tx, row.group.id, name=body.name, description=body.description)
    except GroupExistsError as error:
        raise _exists(error) from None
    await call.tx.refresh(row.group)
    return Answer(Group.of(row))


async def delete(call: Call[GroupPath, Nothing, Nothing]) -> Answer:
    """Delete a group; its hosts stay."""
    group = (await host_lookup.one_group(call.tx, call.path.group)).group
    await _sign(call, "delete", group, [], {})
    answer = Deleted(id=group.id, name=group.name)
    await replan_group(call.tx, group.id)
    await queries.delete_group(call.tx, group.id)
    return Answer(answer)


async def add(call: Call[GroupPath, Nothing, MembersRequest]) -> Answer:
    """Put hosts into a group."""
    group, agents = await _members(call, "add")
    changed = await queries.add_hosts(call.tx, group.id, agents, by=call.operator, at=call.parts.clock.now())
    await replan_members(call.tx, group.id, agents)
    return await _membership(call, group.id, changed, len(agents) - changed)


async def remove(call: Call[GroupPath, Nothing, MembersRequest]) -> Answer:
    """Take hosts out of a group."""
    group, agents = await _members(call, "remove")
    changed = await queries.remove_hosts(call.tx, group.id, agents)
    await replan_members(call.tx, group.id, agents)
    return await _membership(call, group.id, changed, len(agents) - changed)


async def _members(
    call: Call[GroupPath, Nothing, MembersRequest], action: str
) -> tuple[AgentGroup, list[UUID]]:
    group = (await host_lookup.one_group(call.tx, call.path.group)).group
    agents = await host_lookup.host_ids(call.tx, call.body.hosts)
    await _sign(call, action, group, agents, {})
    return group, agents


async def _membership(
    call: Call[GroupPath, Nothing, MembersRequest], group: UUID, changed: int, unchanged: int
) -> Answer:
    row = await host_lookup.one_group(call.tx, str(group))
    return Answer(Membership(group=Group.of(row), changed=changed, unchanged=unchanged))


async def _sign(
    call: commanding.AnyCall, action: str, group: AgentGroup, agents: list[UUID], more: Mapping[str, Any]
) -> None:
    params = {"action": action, "group": str(group.id), "name": group.name, **more}
    await commanding.store(call, commanding.intent_of(call, IntentVerb.CHANGE_GROUP, agents, params))


def _exists(error: GroupExistsError) -> ProblemError:
    return ProblemError(
        ProblemCode.GROUP_EXISTS,
        f"{error}; names are the same in any case of letters",
        extra={"group": {"id": str(error.group.id), "name": error.group.name}},
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/groups", "groups_list", "List groups", list_, Page[Group], Nothing, GroupsQuery, Nothing, "groups",
    ),
    Route(
        "POST", "/groups", "groups_create", "Make a group", create, Group, Nothing, Nothing, GroupRequest, "groups",
        status=201, scope=Scope.WRITE, changes=True,
        problems=(ProblemCode.GROUP_EXISTS, ProblemCode.TOO_MANY_GROUPS),
    ),
    Route(
        "GET", "/groups/{group}", "groups_show", "Show a group", show, Group, GroupPath, Nothing, Nothing, "groups",
        problems=host_lookup.GROUP_PROBLEMS,
    ),
    Route(
        "POST", "/groups/{group}", "groups_change", "Rename or describe a group", change, Group, GroupPath, Nothing,
        GroupChange, "groups", scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.GROUP_PROBLEMS, ProblemCode.GROUP_EXISTS, ProblemCode.NOTHING_TO_DO),
    ),
    Route(
        "POST", "/groups/{group}/delete", "groups_delete", "Delete a group; its hosts stay", delete, Deleted,
        GroupPath, Nothing, Nothing, "groups", scope=Scope.WRITE, changes=True,
        problems=host_lookup.GROUP_PROBLEMS,
    ),
    Route(
        "POST", "/groups/{group}/add", "groups_add", "Put hosts into a group", add, Membership, GroupPath, Nothing,
        MembersRequest, "groups", scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.GROUP_PROBLEMS, *host_lookup.PROBLEMS),
    ),
    Route(
        "POST", "/groups/{group}/remove", "groups_remove", "Take hosts out of a group", remove, Membership,
        GroupPath, Nothing, MembersRequest, "groups", scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.GROUP_PROBLEMS, *host_lookup.PROBLEMS),
    ),
)  # fmt: skip
