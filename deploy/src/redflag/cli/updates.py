"""`redflag updates`: from pending to installed."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.install import install
from redflag.cli.options import COMMON, ROWS, WAITING, Common, Rows, Waiting
from redflag.cli.packages import parse_packages
from redflag.cli.plan_view import next_step, show_plan
from redflag.cli.plans import ask_for_plan, choose, host_plans, show_planned, whole_plan
from redflag.cli.problems import UsageRefusedError
from redflag.cli.rollback import rollback
from redflag.cli.run import Session, run
from redflag.cli.update_words import approve, ignore, reject, reset
from redflag.cli.updates_view import COLUMNS, row
from redflag.cli.versions import versions
from redflag.cli.words import ago, counted

app = App(name="updates", help="Updates, from pending to installed.", help_epilogue=exit_codes.HELP)

Manager = Annotated[str | None, Parameter(help="Package manager, when the names fit several.")]


@app.command(name="list")
def list_updates(
    host: str | None = None,
    /,
    *,
    state: Annotated[
        str | None, Parameter(help="Only of this state, for example pending, approved, failed, updated.")
    ] = None,
    security: Annotated[bool, Parameter(negative="", help="Only security updates.")] = False,
    severity: Annotated[str | None, Parameter(help="Only critical, high, medium or low.")] = None,
    availability: Annotated[
        str | None, Parameter(help="Only available, held, kept_back, phased or pinned.")
    ] = None,
    name: Annotated[str | None, Parameter(help="Text in the package's name.")] = None,
    group: Annotated[str | None, Parameter(help="Only of members of this group.")] = None,
    tag: Annotated[str | None, Parameter(help="Only of hosts with this tag: NAME or NAME=VALUE.")] = None,
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
        narrowed = {
            "state": state,
            "security": True if security else None,
            "severity": severity,
            "availability": availability,
            "name": name,
            "group": group,
            "tag": tag,
        }
        page = await listing.fetch(session, "/updates", {"host": host, **narrowed}, rows)
        filtered = any(value is not None for value in narrowed.values())
        empty = ""
        if not page["items"] and not session.out.as_json:
            empty = "No update matches." if filtered else await _why_none(session, host)
        counts = page.get("counts", {})
        footer = f"{counted(page['total'], 'update')}, {counts.get('security', 0)} of all are for security"
        listing.show(session, page, COLUMNS, row, empty=empty, footer=footer)
        return ExitCode.DONE

    return run(common, work)


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


for _word in (approve, reject, ignore, reset, install, rollback):
    app.command(_word)
app.command(versions, name="history")


@app.command
def plan(
    host: str,
    /,
    *packages: str,
    security: Annotated[
        bool, Parameter(negative="", show_default=False, help="All security updates the host finds.")
    ] = False,
    full: Annotated[
        bool, Parameter(negative="", show_default=False, help="All a full upgrade would do, removals too.")
    ] = False,
    manager: Manager = None,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Ask a host what exactly updating some packages would do.

    With --security or --full the host finds the packages itself, and the plan is confirmed before it is installed.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION; the approved ones if none is named.
    """

    async def work(session: Session) -> ExitCode:
        if bool(packages) + security + full > 1:
            raise UsageRefusedError("name packages, or say one of --security and --full")
        mode = "security" if security else "full" if full else "packages"
        wanted = parse_packages(packages)
        command = await ask_for_plan(session, host, wanted, manager, join=waiting.wait, mode=mode)
        return await show_planned(session, command, waiting)

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
