"""From the ids and names an operator writes to hosts and groups, and from conditions to a filter."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.models.hosts import HostConditions, split_tag
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_store.queries.groups import GroupRow, find_group
from redflag_store.queries.host_filter import HostFilter
from redflag_store.queries.hosts import HostRow, find_hosts, resolve_hosts
from redflag_store.tables import Agent

PROBLEMS = (ProblemCode.HOST_NOT_FOUND, ProblemCode.HOST_AMBIGUOUS)
"""What a route that looks a host up may answer with."""

GROUP_PROBLEMS = (ProblemCode.GROUP_NOT_FOUND,)
"""What a route that looks a group up may answer with."""

FILTER_PROBLEMS = (*PROBLEMS, *GROUP_PROBLEMS)
"""What a route that takes `HostConditions` may answer with."""


async def one_host(session: AsyncSession, id_or_name: str) -> HostRow:
    """The host.

    Raises:
        ProblemError: `host_not_found`, `host_ambiguous`.
    """
    found = await find_hosts(session, id_or_name)
    if len(found) != 1:
        raise _unclear(id_or_name, [row.agent for row in found])
    return found[0]


def _unclear(text: str, found: Sequence[Agent]) -> ProblemError:
    if not found:
        return ProblemError(
            ProblemCode.HOST_NOT_FOUND, f"no host has the id or name {text!r}; GET /hosts lists them"
        )
    return ProblemError(
        ProblemCode.HOST_AMBIGUOUS,
        f"{len(found)} hosts are named {text!r}; use an id",
        extra={"hosts": [_shown(agent) for agent in found]},
    )


async def host_id(session: AsyncSession, id_or_name: str | None) -> UUID | None:
    """The id of the host a filter names; None for no filter.

    Raises:
        ProblemError: as `one_host`.
    """
    return None if id_or_name is None else (await one_host(session, id_or_name)).agent.id


async def host_ids(session: AsyncSession, texts: Sequence[str]) -> list[UUID]:
    """The ids of the hosts named, each once, in the order given; all or none.

    Raises:
        ProblemError: as `one_host`, naming the first that does not fit.
    """
    meant = await resolve_hosts(session, texts)
    ids: dict[UUID, None] = {}
    for text, found in meant.items():
        if len(found) != 1:
            raise _unclear(text, found)
        ids[found[0].id] = None
    return list(ids)


async def one_group(session: AsyncSession, id_or_name: str) -> GroupRow:
    """The group.

    Raises:
        ProblemError: `group_not_found`.
    """
    found = await find_group(session, id_or_name)
    if found is None:
        raise ProblemError(
            ProblemCode.GROUP_NOT_FOUND, f"no group has the id or name {id_or_name!r}; GET /groups lists them"
        )
    return found


async def filter_of(session: AsyncSession, given: HostConditions) -> HostFilter:
    """The filter that conditions stand for.

    Raises:
        ProblemError: one of `FILTER_PROBLEMS`.
    """
    return HostFilter(
        group=None if given.group is None else (await one_group(session, given.group)).group.id,
        tags=() if given.tag is None else (split_tag(given.tag),),
        under=await host_id(session, given.under),
        os=given.os,
        state=given.state,
        text=given.q,
        version_below=given.version_below,
        reboot_required=given.reboot_required,
    )


def _shown(agent: Agent) -> dict[str, object]:
    return {"id": agent.id, "hostname": agent.hostname, "last_seen_at": agent.last_seen_at}
