"""`redflag history`: what was done, one line each."""

from typing import Annotated

from cyclopts import Parameter

from redflag.cli import listing
from redflag.cli.api_values import Json
from redflag.cli.commands_view import asker, state_cell
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, OnlyHost, Rows, Since, Until
from redflag.cli.output import Cell, Column
from redflag.cli.run import Session, run
from redflag.cli.since import time_text
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
    state: Annotated[str | None, Parameter(help="For example succeeded, failed, rejected.")] = None,
    group: Annotated[str | None, Parameter(help="Only of this group's hosts.")] = None,
    tag: Annotated[str | None, Parameter(help="Only of hosts with this tag: NAME or NAME=VALUE.")] = None,
    since: Since = None,
    until: Until = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """Show what was done, newest first."""

    async def work(session: Session) -> ExitCode:
        now = session.api.now
        query = {
            "host": host, "kind": kind, "state": state, "group": group, "tag": tag,
            "since": time_text(since, now, "--since"), "until": time_text(until, now, "--until"),
        }  # fmt: skip
        page = await listing.fetch(session, "/history", query, rows)
        now = session.api.now

        def row(line: Json) -> list[Cell]:
            return [
                ago(line["finished_at"] or line["requested_at"], now),
                line["hostname"],
                line["text"],
                state_cell(line),
                asker(line),
                line["command_id"],
            ]

        listing.show(
            session,
            page,
            _COLUMNS,
            row,
            empty="Nothing matches." if any(query.values()) else "Nothing was done yet.",
            footer=counted(page["total"], "operation"),
        )
        return ExitCode.DONE

    return run(common, work)
