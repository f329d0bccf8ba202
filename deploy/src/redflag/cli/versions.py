"""`redflag updates history`: the versions the packages of a host had, and when the host changed them."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli import listing
from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.run import Session, run
from redflag.cli.words import counted, dash, exact, spell, style_of

_COLUMNS = (
    Column("Finished on the host", whole=True),
    Column("Package", whole=True),
    Column("Action"),
    Column("From"),
    Column("To"),
    Column("Result"),
    Column("Command", spare=True),
)


def versions(
    host: str,
    package: str | None = None,
    /,
    *,
    manager: Annotated[str | None, Parameter(help="Only of this package manager.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List what commands changed in the versions of a host's packages, newest first.

    Parameters
    ----------
    host
        Its name or id.
    package
        Only of this one, by its exact name.
    """

    async def work(session: Session) -> ExitCode:
        query = {"host": host, "package": package, "manager": manager}
        page = await listing.fetch(session, "/updates/history", query, rows)
        what = "No package" if package is None else package
        empty = (
            f"{what} was changed by a command on {host}."
            if package is None
            else f"No command changed {what} on {host}."
        )
        listing.show(session, page, _COLUMNS, _row, empty=empty, footer=counted(page["total"], "change"))
        return ExitCode.DONE

    return run(common, work)


def _row(change: Json) -> list[Cell]:
    result = str(change["result"])
    return [
        exact(change["agent_finished_at"] or change["stored_at"]),
        f"{change['name']}:{change['arch']}",
        change["action"],
        dash(change["old_version"]),
        dash(change["new_version"]),
        Styled(spell(result), style_of(result)),
        dash(change["command_id"]),
    ]
