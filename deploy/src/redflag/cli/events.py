"""`redflag events`: refusals, failures, things to look at."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, style_of

app = App(name="events", help="Refusals, failures, things to look at.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("When"),
    Column("Severity"),
    Column("Where"),
    Column("Host", whole=True),
    Column("Code"),
    Column("What"),
)


@app.command(name="list")
def list_events(
    *,
    host: Annotated[str | None, Parameter(help="Only about this host: name or id.")] = None,
    severity: Annotated[
        str | None, Parameter(help="debug, info, warning, error or critical: this one or a worse one.")
    ] = None,
    code: Annotated[str | None, Parameter(help="Only of this code.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List system events, newest first."""

    async def work(session: Session) -> ExitCode:
        query = {"host": host, "severity": severity, "code": code}
        page = await listing.fetch(session, "/events", query, rows)
        now = session.api.now

        def row(event: Json) -> list[Cell]:
            return [
                ago(event["at"], now),
                Styled(event["severity"], style_of(event["severity"])),
                event["component"],
                dash(event["hostname"]),
                event["code"],
                event["message"],
            ]

        listing.show(session, page, _COLUMNS, row, empty="No events.", footer=counted(page["total"], "event"))
        return ExitCode.DONE

    return run(common, work)
