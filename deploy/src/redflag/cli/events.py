"""`redflag events`: refusals, failures, things to look at."""

import asyncio
import json
from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, ROWS_MAX, Common, Rows
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.since import time_text
from redflag.cli.terminal_text import one_line
from redflag.cli.words import ago, counted, dash, exact, style_of

app = App(name="events", help="Refusals, failures, things to look at.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("When"),
    Column("Severity"),
    Column("Where"),
    Column("Host", whole=True),
    Column("Code"),
    Column("What"),
)


FOLLOW_S = 3.0  # between two looks


@app.command(name="list")
def list_events(
    *,
    host: Annotated[str | None, Parameter(help="Only about this host: name or id.")] = None,
    severity: Annotated[
        str | None, Parameter(help="debug, info, warning, error or critical: this one or a worse one.")
    ] = None,
    component: Annotated[
        str | None, Parameter(help="Only from this component, for example agent, auth, ingest, gateway.")
    ] = None,
    code: Annotated[str | None, Parameter(help="Only of this code.")] = None,
    since: Annotated[str | None, Parameter(help="From then on: for example 24h, 7d, or a time.")] = None,
    until: Annotated[str | None, Parameter(help="Before then, written likewise.")] = None,
    follow: Annotated[
        bool, Parameter(negative="", help="Go on with what happens from now on, oldest first, until Ctrl-C.")
    ] = False,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List system events, newest first."""

    async def work(session: Session) -> ExitCode:
        now = session.api.now
        query = {
            "host": host, "severity": severity, "component": component, "code": code,
            "since": time_text(since, now, "--since"), "until": time_text(until, now, "--until"),
        }  # fmt: skip
        if follow:
            if until is not None or rows.cursor is not None:
                raise UsageRefusedError("--follow has no end: leave out --until and --cursor")
            return await _follow(session, query)
        page = await listing.fetch(session, "/events", query, rows)
        now = session.api.now

        def row(event: Json) -> list[Cell]:
            often = f" ({event['count']} times)" if event["count"] > 1 else ""
            return [
                ago(event["last_at"] or event["at"], now),
                Styled(event["severity"], style_of(event["severity"])),
                event["component"],
                dash(event["hostname"]),
                event["code"],
                f"{event['message']}{often}",
            ]

        filtered = any(value is not None for value in query.values())
        empty = "No event matches." if filtered else "No events."
        listing.show(session, page, _COLUMNS, row, empty=empty, footer=counted(page["total"], "event"))
        return ExitCode.DONE

    return run(common, work)


async def _follow(session: Session, query: dict[str, str | None]) -> ExitCode:
    """Print events as they come, one a line; JSON is one object a line."""
    out = session.out
    seen: set[str] = set()
    if query["since"] is None:
        first = await session.api.get("/events", {**query, "limit": 1})
        seen = {one["id"] for one in first["items"]}
        query["since"] = first["items"][0]["at"] if first["items"] else None
    while True:
        page = await session.api.pages("/events", query, limit=ROWS_MAX)
        fresh = [one for one in reversed(page["items"]) if one["id"] not in seen]
        for event in fresh:
            line = f"{exact(event['at'])}  {event['severity']:<8}  {event['component']:<12}  "
            about = f"{event['hostname']}  " if event["hostname"] else ""
            if out.as_json:
                out.stdout.write(json.dumps(event) + "\n")
            else:
                out.stdout.write(
                    f"{one_line(line)}{one_line(about)}{event['code']}  {one_line(event['message'])}\n"
                )
        out.stdout.flush()
        if page["items"]:
            # What happened in the same moment as the newest one is asked for again, and known.
            query["since"] = page["items"][0]["at"]
            seen = {one["id"] for one in page["items"] if one["at"] == query["since"]}
        await asyncio.sleep(FOLLOW_S)
