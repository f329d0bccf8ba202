"""`redflag scan`: look for updates now."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli.api_values import segment
from redflag.cli.commands_view import ask, conclude
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, WAITING, Common, HostName, Waiting
from redflag.cli.run import Session, run


def scan(
    host: HostName,
    subsystem: str = "all",
    /,
    *,
    refresh: Annotated[bool, Parameter(help="Fetch fresh package lists first, where the host may.")] = True,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Look for updates on a host now.

    Parameters
    ----------
    subsystem
        A package manager, for example apt, or all.
    """

    async def work(session: Session) -> ExitCode:
        command = await ask(
            session,
            f"/hosts/{segment(host)}/scan",
            {"subsystem": subsystem, "refresh": refresh},
            join={"subsystem": subsystem} if waiting.wait else None,
        )
        return await conclude(session, command, waiting)

    return run(common, work, waiting=waiting)
