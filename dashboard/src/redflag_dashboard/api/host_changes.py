"""What operators say about a host: its tags, and the host it runs on. Every change is a signed intent."""

from redflag_dashboard.agent_versions import Wanted
from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.models.common import HostPath
from redflag_dashboard.models.hosts import Host, ParentRequest, TagsRequest
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_store.queries import tags as queries
from redflag_store.queries.settings import read_settings
from redflag_store.tables import Agent
from redflag_wire.intent import IntentVerb


async def tags(call: Call[HostPath, Nothing, TagsRequest]) -> Answer:
    """Set and remove tags of a host."""
    body = call.body
    if not body.set and not body.remove:
        raise ProblemError(ProblemCode.NOTHING_TO_DO, "give tags to set or to remove")
    host = await host_lookup.one_host(call.tx, call.path.host)
    params = {"tags": body.model_dump(mode="json")}
    await commanding.store(call, commanding.intent_of(call, IntentVerb.CHANGE_HOST, [host.agent.id], params))
    try:
        await queries.change_tags(call.tx, host.agent.id, put=body.set, remove=body.remove)
    except queries.TooManyTagsError as error:
        raise ProblemError(ProblemCode.TOO_MANY_TAGS, f"{host.agent.hostname} would have {error}") from None
    return await _changed(call, host.agent)


async def parent(call: Call[HostPath, Nothing, ParentRequest]) -> Answer:
    """Say on which host a host runs."""
    host = (await host_lookup.one_host(call.tx, call.path.host)).agent
    above = (
        None if call.body.parent is None else (await host_lookup.one_host(call.tx, call.body.parent)).agent
    )
    params = {"parent": None if above is None else str(above.id)}
    await commanding.store(call, commanding.intent_of(call, IntentVerb.CHANGE_HOST, [host.id], params))
    try:
        await queries.set_parent(call.tx, host.id, None if above is None else above.id)
    except queries.TreeCycleError:
        name = host.hostname if above is None else above.hostname
        raise ProblemError(
            ProblemCode.TREE_CYCLE, f"{name} is {host.hostname} itself, or runs on it; move it away first"
        ) from None
    except queries.TreeTooDeepError as error:
        raise ProblemError(ProblemCode.TREE_TOO_DEEP, str(error)) from None
    return await _changed(call, host)


async def _changed(call: commanding.AnyCall, host: Agent) -> Answer:
    await call.tx.refresh(host)
    versions = Wanted.of(await read_settings(call.tx), call.parts.version)
    return Answer(Host.of(await host_lookup.one_host(call.tx, str(host.id)), versions))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/hosts/{host}/tags", "hosts_tags", "Set and remove tags of a host", tags, Host, HostPath, Nothing,
        TagsRequest, "hosts", scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.PROBLEMS, ProblemCode.TOO_MANY_TAGS, ProblemCode.NOTHING_TO_DO),
    ),
    Route(
        "POST", "/hosts/{host}/parent", "hosts_parent", "Say on which host a host runs", parent, Host, HostPath,
        Nothing, ParentRequest, "hosts", scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.PROBLEMS, ProblemCode.TREE_CYCLE, ProblemCode.TREE_TOO_DEEP),
    ),
)  # fmt: skip
