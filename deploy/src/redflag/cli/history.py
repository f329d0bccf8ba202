"""`redflag history`: what was done, one line each."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli import listing
from redflag.cli.api_values import Json
from redflag.cli.commands_view import state_cell
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, OnlyHost, Rows
from redflag.cli.output import Cell, Column
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted

_COLUMNS = (
    Column("When"),
    Column("Host", whole=True),
    Column("What"),
    Column("State", whole=True),
    Column("By"),
    Column("Command", whole=True, spare=True),
)


def history(
    host: OnlyHost = None,
    /,
    *,
    kind: Annotated[str | None, Parameter(help="For example scan, dry_run_update, install_updates.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """Show what was done, newest first."""

    async def work(session: Session) -> ExitCode:
        page = await listing.fetch(session, "/history", {"host": host, "kind": kind}, rows)
        now = session.api.now

        def row(line: Json) -> list[Cell]:
            return [
                ago(line["finished_at"] or line["requested_at"], now),
                line["hostname"],
                line["text"],
                state_cell(line),
                line["requested_by"],
                line["command_id"],
            ]

        listing.show(
            session,
            page,
            _COLUMNS,
            row,
            empty="Nothing was done yet.",
            footer=counted(page["total"], "operation"),
        )
        return ExitCode.DONE

    return run(common, work)
