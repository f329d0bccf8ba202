"""`redflag updates rollback`: back to the version before, by a plan that is confirmed."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli.commands_view import ask
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, WAITING, Common, Waiting
from redflag.cli.packages import parse_packages
from redflag.cli.plans import show_planned
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run


def rollback(
    host: str,
    /,
    *packages: str,
    manager: Annotated[str | None, Parameter(help="Package manager, when the names fit several.")] = None,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Ask a host what exactly going back to the versions before would do.

    The versions are those RedFlag replaced there; see them with `redflag updates history`. The plan is confirmed and
    carried out like any other, with `redflag updates confirm` and `redflag updates install`.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION, the version to go back to.
    """

    async def work(session: Session) -> ExitCode:
        if not packages:
            raise UsageRefusedError("name the packages to bring back", [f"redflag updates history {host}"])
        body = {"host": host, "packages": parse_packages(packages), "manager": manager}
        return await show_planned(session, await ask(session, "/updates/rollback", body, join=None), waiting)

    return run(common, work, waiting=waiting)
