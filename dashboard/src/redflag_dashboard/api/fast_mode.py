"""Fast mode of a host: showing it, asking for it, stopping it."""

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.common import HostPath
from redflag_dashboard.models.fast_mode import FastMode, FastModeRequest
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_wire.command_params import CommandKind, EnableHeartbeatParams, NoParams
from redflag_wire.intent import IntentVerb


async def show(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """Show whether a host polls fast."""
    async with call.parts.sessions() as session:
        host = await host_lookup.one_host(session, call.path.host)
    return Answer(FastMode.of(host.agent, call.parts.clock.now()))


async def start(call: Call[HostPath, Nothing, FastModeRequest]) -> Answer:
    """Ask a host to poll fast; asked for again while it does, it is a new end."""
    host = await host_lookup.one_host(call.tx, call.path.host)
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.ENABLE_HEARTBEAT,
        kind=CommandKind.ENABLE_HEARTBEAT,
        params=EnableHeartbeatParams(duration_s=call.body.duration_s),
    )
    return await commanding.accepted(call, command_id)


async def stop(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """Ask a host to poll in the usual way again; one that already does just says so."""
    host = await host_lookup.one_host(call.tx, call.path.host)
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.DISABLE_HEARTBEAT,
        kind=CommandKind.DISABLE_HEARTBEAT,
        params=NoParams(),
    )
    return await commanding.accepted(call, command_id)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/hosts/{host}/fast-mode", "fast_mode_show", "Show whether a host polls fast", show, FastMode,
        HostPath, Nothing, Nothing, "hosts", problems=host_lookup.PROBLEMS,
    ),
    Route(
        "POST", "/hosts/{host}/fast-mode", "fast_mode_start", "Let a host poll fast", start, Command, HostPath,
        Nothing, FastModeRequest, "hosts", status=202, scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.PROBLEMS, *commanding.PROBLEMS),
    ),
    Route(
        "POST", "/hosts/{host}/fast-mode/stop", "fast_mode_stop", "End a host's fast mode", stop, Command, HostPath,
        Nothing, Nothing, "hosts", status=202, scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.PROBLEMS, *commanding.PROBLEMS),
    ),
)  # fmt: skip
