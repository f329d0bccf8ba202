"""`redflag jobs`: asking many hosts for the same, following that, and stopping it."""

from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, record_id
from redflag.cli.bulk import NO_HOSTS, Hosts, start_job
from redflag.cli.exit_codes import ExitCode
from redflag.cli.jobs_view import follow_job, job_outcome, job_state, left_out_lines, say_job, standing
from redflag.cli.options import COMMON, ROWS, WAITING, Common, Rows, Waiting, parse_duration
from redflag.cli.output import Cell, Column
from redflag.cli.problems import UsageRefusedError
from redflag.cli.reboot import checked_reason, confirm_restarts, delay_seconds
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, spell

app = App(name="jobs", help="The same for many hosts at once.", help_epilogue=exit_codes.HELP)

Kind = Literal["scan", "collect-specs", "plan", "reboot", "enable-heartbeat", "disable-heartbeat"]
Mode = Literal["packages", "security", "full"]

_COLUMNS = (
    Column("Id", whole=True),
    Column("What", whole=True),
    Column("State", whole=True),
    Column("Hosts", right=True),
    Column("Progress"),
    Column("Asked"),
    Column("By"),
)
_BELONGS: Final = {
    "subsystem": "scan",
    "delay": "reboot",
    "reason": "reboot",
    "mode": "plan",
    "manager": "plan",
    "for": "enable-heartbeat",
}
"""Option -> the kind it belongs to."""


@app.command
def start(
    kind: Kind,
    /,
    *,
    subsystem: Annotated[
        str | None, Parameter(help="For scan: a package manager, system, storage or all.")
    ] = None,
    mode: Annotated[
        Mode | None, Parameter(help="For plan: the approved updates, security updates or a full upgrade.")
    ] = None,
    manager: Annotated[
        str | None, Parameter(help="For plan: where hosts have several package managers.")
    ] = None,
    delay: Annotated[str | None, Parameter(help="For reboot: how long hosts wait first.")] = None,
    reason: Annotated[str | None, Parameter(help="For reboot: one line for people on the hosts.")] = None,
    for_: Annotated[
        str | None,
        Parameter(name="--for", help="For enable-heartbeat: how long; until stopped if not given."),
    ] = None,
    yes: Annotated[
        bool, Parameter(negative="", show_default=False, help="For reboot: do not ask for a confirmation.")
    ] = False,
    hosts: Hosts = NO_HOSTS,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Ask many hosts for the same; who they are is decided now.

    Parameters
    ----------
    kind
        What to ask for.
    """

    async def work(session: Session) -> ExitCode:
        given = {
            "subsystem": subsystem, "mode": mode, "manager": manager, "delay": delay, "reason": reason, "for": for_,
        }  # fmt: skip
        params = params_of(kind, given)
        if kind == "reboot" and not yes:
            await confirm_restarts(session, hosts, params["delay_s"])
        return await start_job(session, kind.replace("-", "_"), params, hosts, waiting)

    return run(common, work, waiting=waiting)


def params_of(kind: str, given: Json) -> Json:
    """Return a job's parameters from the options given.

    Raises:
        UsageRefusedError: an option belongs to another kind, or is written wrongly.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen:
        if _BELONGS[name] != kind:
            raise UsageRefusedError(f"--{name} belongs to the kind {_BELONGS[name]}, not to {kind}")
    if kind == "reboot":
        return {
            "delay_s": delay_seconds(chosen.get("delay", "1m")),
            "reason": checked_reason(chosen.get("reason", "")),
        }
    if kind == "enable-heartbeat":
        return {"duration_s": None if "for" not in chosen else parse_duration(chosen["for"], "--for")}
    return chosen


@app.command(name="list")
def list_jobs(
    *,
    kind: Annotated[Kind | None, Parameter(help="Only of this kind.")] = None,
    state: Annotated[
        Literal["running", "cancelling", "finished", "cancelled"] | None,
        Parameter(help="Only of this state."),
    ] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List jobs, newest first."""

    async def work(session: Session) -> ExitCode:
        query = {"kind": None if kind is None else kind.replace("-", "_"), "state": state}
        page = await listing.fetch(session, "/jobs", query, rows)
        now = session.api.now

        def row(job: Json) -> list[Cell]:
            return [
                job["id"],
                spell(job["kind"]),
                job_state(job),
                str(job["total"]),
                standing(job).partition(": ")[2],
                ago(job["requested_at"], now),
                job["requested_by"],
            ]

        empty = (
            "No jobs yet. Start one with: redflag jobs start scan --all"
            if not any(query.values())
            else "No job matches."
        )
        listing.show(session, page, _COLUMNS, row, empty=empty, footer=counted(page["total"], "job"))
        return ExitCode.DONE

    return run(common, work)


@app.command
def show(
    job: str,
    /,
    *,
    hosts: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Every host, not only those on which it went wrong."),
    ] = False,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Show how far a job is.

    Parameters
    ----------
    job
        Its id.
    """

    async def work(session: Session) -> ExitCode:
        found = await session.api.get(f"/jobs/{record_id(job, 'job')}")
        code = ExitCode.DONE
        if waiting.wait:
            found = await follow_job(session, found, waiting.timeout_s)
            code = job_outcome(found)
        if not session.out.as_json:
            await say_job(session, found, every=hosts)
            for line in left_out_lines(found):
                session.out.say(line)
        elif hosts:
            page = await session.api.pages(f"/jobs/{found['id']}/items", {}, limit=max(1, found["total"]))
            session.out.json({**found, "items": page["items"]})
        else:
            session.out.json(found)
        return code

    return run(common, work, waiting=waiting)


@app.command
def cancel(job: str, /, *, waiting: Waiting = WAITING, common: Common = COMMON) -> int:
    """Stop a job: hosts not asked yet are not, and what is under way is cancelled where it still can be.

    Parameters
    ----------
    job
        Its id.
    """

    async def work(session: Session) -> ExitCode:
        found = await session.api.post(f"/jobs/{record_id(job, 'job')}/cancel", None)
        if waiting.wait:
            found = await follow_job(session, found, waiting.timeout_s)
        if session.out.as_json:
            session.out.json(found)
        elif waiting.wait:
            await say_job(session, found)
        else:
            session.out.say(f"Stopping: {standing(found)}")
            session.out.note(f"Follow it with: redflag jobs show {found['id']} --wait")
        return ExitCode.DONE

    return run(common, work, waiting=waiting)
