"""What a host is asked to do, apart from its packages: restart, and look at itself."""

from redflag_dashboard.api import commanding, host_lookup
from redflag_dashboard.models.commands import Command
from redflag_dashboard.models.common import HostPath
from redflag_dashboard.models.host_actions import RebootRequest
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_wire.command_params import CommandKind, NoParams, RebootParams
from redflag_wire.intent import IntentVerb


async def reboot(call: Call[HostPath, Nothing, RebootRequest]) -> Answer:
    """Ask a host to restart; whether it may is the host's own policy, and it answers for itself."""
    host = await host_lookup.one_host(call.tx, call.path.host)
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.REBOOT,
        kind=CommandKind.REBOOT,
        params=RebootParams(delay_s=call.body.delay_s, reason=call.body.reason),
    )
    return await commanding.accepted(call, command_id)


async def collect_specs(call: Call[HostPath, Nothing, Nothing]) -> Answer:
    """Ask a host what it is made of."""
    host = await host_lookup.one_host(call.tx, call.path.host)
    command_id = await commanding.ask(
        call,
        agent=host.agent.id,
        verb=IntentVerb.COLLECT_SPECS,
        kind=CommandKind.COLLECT_SPECS,
        params=NoParams(),
    )
    return await commanding.accepted(call, command_id)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "POST", "/hosts/{host}/reboot", "hosts_reboot", "Restart a host", reboot, Command, HostPath, Nothing,
        RebootRequest, "hosts", status=202, scope=Scope.WRITE, changes=True,
        problems=(*host_lookup.PROBLEMS, *commanding.PROBLEMS),
    ),
    Route(
        "POST", "/hosts/{host}/collect-specs", "hosts_collect_specs", "Collect a host's facts now",
        collect_specs, Command, HostPath, Nothing, Nothing, "hosts", status=202, scope=Scope.WRITE,
        changes=True, problems=(*host_lookup.PROBLEMS, *commanding.PROBLEMS),
    ),
)  # fmt: skip
