"""`redflag scan`: look for updates now, on one host or on many."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli.api_values import segment
from redflag.cli.bulk import NO_HOSTS, Hosts, one_or_many, start_job
from redflag.cli.commands_view import ask, conclude
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, WAITING, Common, Waiting
from redflag.cli.run import Session, run


def scan(
    host: str | None = None,
    /,
    subsystem: str = "all",
    *,
    refresh: Annotated[bool, Parameter(help="Fetch fresh package lists first, where the host may.")] = True,
    full: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Send everything, whatever the server knows already."
        ),
    ] = False,
    hosts: Hosts = NO_HOSTS,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Look for updates now, on a host or on many.

    Parameters
    ----------
    host
        Its name or id.
    subsystem
        A package manager, for example apt; or system, storage, all. For many hosts write --subsystem.
    """

    async def work(session: Session) -> ExitCode:
        one_or_many(host, hosts)
        body = {"subsystem": subsystem, "refresh": refresh, **({"full": True} if full else {})}
        if host is None:
            return await start_job(session, "scan", body, hosts, waiting)
        command = await ask(
            session,
            f"/hosts/{segment(host)}/scan",
            body,
            join={"subsystem": subsystem} if waiting.wait else None,
        )
        return await conclude(session, command, waiting)

    return run(common, work, waiting=waiting)
