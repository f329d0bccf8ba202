"""From the id or name an operator writes to exactly one host."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_store.queries.hosts import HostRow, find_hosts
from redflag_store.tables import Agent

PROBLEMS = (ProblemCode.HOST_NOT_FOUND, ProblemCode.HOST_AMBIGUOUS)
"""What a route that looks a host up may answer with."""


async def one_host(session: AsyncSession, id_or_name: str) -> HostRow:
    """The host.

    Raises:
        ProblemError: `host_not_found`, `host_ambiguous`.
    """
    found = await find_hosts(session, id_or_name)
    if not found:
        raise ProblemError(
            ProblemCode.HOST_NOT_FOUND, f"no host has the id or name {id_or_name!r}; GET /hosts lists them"
        )
    if len(found) > 1:
        raise ProblemError(
            ProblemCode.HOST_AMBIGUOUS,
            f"{len(found)} hosts are named {id_or_name!r}; use an id",
            extra={"hosts": [_shown(row.agent) for row in found]},
        )
    return found[0]


async def host_id(session: AsyncSession, id_or_name: str | None) -> UUID | None:
    """The id of the host a filter names; None for no filter.

    Raises:
        ProblemError: as `one_host`.
    """
    return None if id_or_name is None else (await one_host(session, id_or_name)).agent.id


def _shown(agent: Agent) -> dict[str, object]:
    return {"id": agent.id, "hostname": agent.hostname, "last_seen_at": agent.last_seen_at}
