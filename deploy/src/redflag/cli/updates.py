"""`redflag updates`: from pending to installed."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, segment
from redflag.cli.commands_view import say_asked
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, WAITING, Common, Rows, Waiting
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.packages import parse_packages
from redflag.cli.plan_view import next_step, show_plan
from redflag.cli.plans import ask_for_plan, choose, host_plans, plan_of, whole_plan
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, spell, style_of

app = App(name="updates", help="Updates, from pending to installed.", help_epilogue=exit_codes.HELP)

Manager = Annotated[str | None, Parameter(help="Package manager, when the names fit several.")]

_COLUMNS = (
    Column("Host", whole=True),
    Column("Package", whole=True),
    Column("Installed"),
    Column("Candidate"),
    Column("Security"),
    Column("State", whole=True),
    Column("Manager", spare=True),
)


@app.command(name="list")
def list_updates(
    host: str | None = None,
    /,
    *,
    state: Annotated[
        str | None, Parameter(help="Only of this state, for example pending, approved, failed, updated.")
    ] = None,
    security: Annotated[bool, Parameter(negative="", help="Only security updates.")] = False,
    name: Annotated[str | None, Parameter(help="Text in the package's name.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List updates by package; without --state, those already installed are left out.

    Parameters
    ----------
    host
        Only of this one: name or id.
    """

    async def work(session: Session) -> ExitCode:
        query = {"host": host, "state": state, "security": True if security else None, "name": name}
        page = await listing.fetch(session, "/updates", query, rows)
        filtered = state is not None or security or name is not None
        empty = ""
        if not page["items"] and not session.out.as_json:
            empty = "No update matches." if filtered else await _why_none(session, host)
        counts = page.get("counts", {})
        footer = f"{counted(page['total'], 'update')}, {counts.get('security', 0)} of all are for security"
        listing.show(session, page, _COLUMNS, _row, empty=empty, footer=footer)
        return ExitCode.DONE

    return run(common, work)


def _row(update: Json) -> list[Cell]:
    state = str(update["state"])
    availability = update["availability"]
    told = spell(state) if availability == "available" else f"{spell(state)} ({spell(availability)})"
    return [
        update["hostname"],
        f"{update['name']}:{update['arch']}",
        dash(update["installed"]),
        dash(update["candidate"]),
        Styled("yes", "red") if update["security"] else "no",
        Styled(told, style_of(state)),
        update["manager"],
    ]


async def _why_none(session: Session, host: str | None) -> str:
    if host is None:
        hosts = await session.api.get("/hosts", {"limit": 1})
        if not hosts["total"]:
            return "No hosts yet. Let one in with: redflag tokens create"
        return f"No updates pending on {counted(hosts['total'], 'host')}. When each was scanned: redflag hosts list"
    found = await session.api.get(f"/hosts/{segment(host)}")
    if found["inventory_at"] is None:
        return f"{found['hostname']} was never scanned. Do it with: redflag scan {found['hostname']} --wait"
    return f"No updates pending, last scan {ago(found['inventory_at'], session.api.now)}."


@app.command
def approve(
    host: str,
    /,
    *packages: str,
    all_: Annotated[bool, Parameter(name="--all", negative="", help="All updates of the host.")] = False,
    security: Annotated[bool, Parameter(negative="", help="All security updates of the host.")] = False,
    manager: Manager = None,
    common: Common = COMMON,
) -> int:
    """Approve updates of a host, at the versions that are candidates now.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION; with a version it is refused when the candidate is another one by now.
    """

    async def work(session: Session) -> ExitCode:
        if bool(packages) + all_ + security != 1:
            raise UsageRefusedError("name packages, or say --all or --security")
        chosen = parse_packages(packages, manager)
        answer = await session.api.post(
            "/updates/approve",
            {
                "host": host,
                "packages": chosen or None,
                "all": True if all_ else None,
                "security": True if security else None,
            },
        )
        if session.out.as_json:
            session.out.json(answer)
            return ExitCode.DONE
        approved, before = answer["approved"], answer["already_approved"]
        if approved:
            session.out.table(_COLUMNS, [_row(one) for one in approved])
        also = f", {before} had been before" if before else ""
        session.out.note(f"{len(approved)} approved{also}.")
        if approved or before:
            session.out.note(f"Next: redflag updates plan {answer['hostname']} --wait")
        return ExitCode.DONE

    return run(common, work)


@app.command
def plan(
    host: str,
    /,
    *packages: str,
    manager: Manager = None,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Ask a host what exactly updating some packages would do.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION; the approved ones if none is named.
    """

    async def work(session: Session) -> ExitCode:
        out = session.out
        wanted = parse_packages(packages)
        command = await ask_for_plan(session, host, wanted, manager, join=waiting.wait)
        if not waiting.wait:
            out.json(command) if out.as_json else say_asked(out, command)
            return ExitCode.DONE
        found, summary = await plan_of(session, command, waiting.timeout_s)
        if out.as_json:
            out.json(found)
            return ExitCode.DONE
        show_plan(out, found, summary)
        step = "confirm" if summary["needs_confirmation"] else "install"
        if found["items"]:
            out.note(next_step(summary, step))
        return ExitCode.DONE

    return run(common, work, waiting=waiting)


@app.command
def confirm(host: str, digest: str | None = None, /, *, common: Common = COMMON) -> int:
    """Confirm everything a plan does, beyond what was asked for too.

    Parameters
    ----------
    host
        Its name or id.
    digest
        The plan's, at least 8 digits of it; the newest plan if not given.
    """

    async def work(session: Session) -> ExitCode:
        out = session.out
        found, summary = await whole_plan(session, choose(await host_plans(session, host), digest, host))
        if not out.as_json:
            show_plan(out, found, {**summary, "needs_confirmation": False})
        answer = await session.api.post(f"/plans/{found['digest']}/confirm", {"host": summary["host_id"]})
        if out.as_json:
            out.json(answer)
            return ExitCode.DONE
        if summary["confirmed_at"] is None:
            out.say("Confirmed.")
        out.note(next_step(summary, "install"))
        return ExitCode.DONE

    return run(common, work)


app.command("redflag.cli.install:install", name="install")
