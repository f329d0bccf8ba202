"""`redflag commands`: what was asked of hosts, and how each of them went, step by step."""

from typing import Annotated, Literal

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, record_id
from redflag.cli.commands_view import (
    asker,
    cancel_text,
    conclude,
    detail_text,
    nth,
    say_end,
    state_cell,
    summary_text,
    why,
)
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, WAITING, Common, Rows, Since, Until, Waiting
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.problems import ConflictError, UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.since import time_text
from redflag.cli.waiting import follow, outcome
from redflag.cli.words import WAITS_FOR, ago, counted, dash, exact, spell, style_of, took

app = App(name="commands", help="Commands to hosts: timeline and result.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("Id", whole=True),
    Column("Host", whole=True),
    Column("Kind"),
    Column("State", whole=True),
    Column("Asked"),
    Column("By"),
    Column("Took", right=True),
)
_TIMELINE = (
    Column("At"),
    Column("Host's time"),
    Column("State", whole=True),
    Column("Cause"),
    Column("Detail"),
)


@app.command(name="list")
def list_commands(
    *,
    host: Annotated[str | None, Parameter(help="Only of this host: name or id.")] = None,
    kind: Annotated[str | None, Parameter(help="For example scan, dry_run_update, install_updates.")] = None,
    state: Annotated[str | None, Parameter(help="For example running, succeeded, failed.")] = None,
    pending: Annotated[
        bool | None, Parameter(negative="--ended", help="Only those without an end yet, or with one.")
    ] = None,
    source: Annotated[
        Literal["manual", "system"] | None, Parameter(help="Asked for by people, or by RedFlag itself.")
    ] = None,
    group: Annotated[str | None, Parameter(help="Only of this group's hosts.")] = None,
    tag: Annotated[str | None, Parameter(help="Only of hosts with this tag: NAME or NAME=VALUE.")] = None,
    since: Since = None,
    until: Until = None,
    op: Annotated[
        str | None, Parameter(help="Of one operation, for example a job: its correlation id.")
    ] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List commands, newest first."""

    async def work(session: Session) -> ExitCode:
        now = session.api.now
        query = {
            "host": host, "kind": kind, "state": state, "pending": pending, "source": source, "group": group,
            "tag": tag, "op": op,
            "since": time_text(since, now, "--since"), "until": time_text(until, now, "--until"),
        }  # fmt: skip
        page = await listing.fetch(session, "/commands", query, rows)
        now = session.api.now

        def row(command: Json) -> list[Cell]:
            return [
                command["id"],
                command["hostname"],
                spell(command["kind"]),
                state_cell(command),
                ago(command["requested_at"], now),
                asker(command),
                took(command["duration_ms"]),
            ]

        filtered = any(value is not None for value in query.values())
        empty = "No command matches." if filtered else "Nothing was asked of any host yet."
        listing.show(session, page, _COLUMNS, row, empty=empty, footer=counted(page["total"], "command"))
        return ExitCode.DONE

    return run(common, work)


@app.command
def cancel(command: str, /, *, waiting: Waiting = WAITING, common: Common = COMMON) -> int:
    """Cancel a command that has no end yet.

    One that no host has yet is cancelled at once. A host that has it is asked to stop it; where that is too late,
    it goes on to its own end, and the cancel says so.

    Parameters
    ----------
    command
        Its id.
    """
    return _ask(command, "cancel", waiting, common)


@app.command
def retry(command: str, /, *, waiting: Waiting = WAITING, common: Common = COMMON) -> int:
    """Ask for an ended command once more: a new command, with all the checks of a first one.

    Parameters
    ----------
    command
        Its id.
    """
    return _ask(command, "retry", waiting, common)


def _ask(command: str, what: str, waiting: Waiting, common: Common) -> int:
    """Ask that something be done with a command; the answer is another command."""

    async def work(session: Session) -> ExitCode:
        asked = await session.api.post(f"/commands/{record_id(command, 'command')}/{what}", None)
        return await conclude(session, asked, waiting)

    return run(common, work, waiting=waiting)


@app.command
def show(
    command: str,
    /,
    *,
    envelope: Annotated[
        bool, Parameter(negative="", help="Print the signed envelope in base64, and nothing else.")
    ] = False,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Show a command: its timeline, its result and what the host printed.

    Parameters
    ----------
    command
        Its id.
    """

    async def work(session: Session) -> ExitCode:
        out = session.out
        if envelope and out.as_json:
            raise UsageRefusedError("--envelope prints one thing only; leave out --format json")
        found = await session.api.get(f"/commands/{record_id(command, 'command')}")
        code = ExitCode.DONE
        if waiting.wait:
            if not found["ended"]:
                found = await follow(session.api, out, found, timeout_s=waiting.timeout_s)
            code = outcome(found)
        if envelope:
            if found["envelope"] is None:
                raise ConflictError(
                    "the command is not signed yet", [f"redflag commands show {found['id']} --wait"]
                )
            out.raw(found["envelope"])
        elif out.as_json:
            out.json(found)
        else:
            _show(session, found)
        return code

    return run(common, work, waiting=waiting)


def _show(session: Session, command: Json) -> None:
    out = session.out
    out.fields(_fields(command))
    out.say()
    out.table(_TIMELINE, [_moment(event) for event in command["events"]])
    for name, title in (("stdout", "What it printed"), ("stderr", "What it printed as errors")):
        if command[name]:
            out.say(f"\n{title}:")
            out.raw(command[name])
    if command["ended"] and outcome(command) is not ExitCode.DONE:
        out.say()
        say_end(out, {**command, "summary": None}, more=False)


def _fields(command: Json) -> list[tuple[str, Cell]]:
    fields: list[tuple[str, Cell]] = [
        ("Command", command["id"]),
        ("Host", f"{command['hostname']} ({command['host_id']})"),
        ("Kind", spell(command["kind"])),
        ("State", state_cell(command)),
        ("Asked by", f"{asker(command)} at {exact(command['requested_at'])}"),
        ("Operation", dash(command["op"])),
    ]
    if command.get("retry_of") is not None:
        fields.append(("Retry of", f"{command['retry_of']} (the {nth(command['retry_depth'])} retry)"))
    if command.get("retried_by") is not None:
        fields.append(("Retried by", command["retried_by"]))
    if command.get("cancel") is not None:
        fields.append(("Cancel", cancel_text(command["cancel"])))
    if command.get("deliveries"):
        fields.append(("Deliveries", str(command["deliveries"])))
    if not command["ended"]:
        fields.append(("Waits for", WAITS_FOR.get(command["state"], "-")))
        fields.append(("Expires", exact(command["expires_at"])))
    told, reason = summary_text(command), why(command)
    if told:
        fields.append(("Result", told))
    if reason:
        fields.append(("Reason", Styled(reason, style_of(command["state"]))))
    if command["plan_digest"] is not None:
        fields.append(("Plan", command["plan_digest"]))
    if command["duration_ms"] is not None:
        fields.append(("Took", took(command["duration_ms"])))
    if command["exit_code"] is not None:
        fields.append(("Exit code", str(command["exit_code"])))
    if command["digest"] is not None:
        fields.append(("Digest", command["digest"]))
    return fields


def _moment(event: Json) -> list[Cell]:
    state = event["to_state"]
    same = event["from_state"] == state
    return [
        exact(event["at"]),
        exact(event["host_at"]),
        Styled("" if same else spell(state), style_of(state)),
        spell(event["cause"]),
        detail_text(event["detail"]),
    ]
