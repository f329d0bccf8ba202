"""`redflag hosts`: which hosts there are, and how one of them is."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.host_changes import parent, tag, tree, untag
from redflag.cli.host_figures import metrics, storage, system, system_fields
from redflag.cli.options import COMMON, ROWS, Common, Rows
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.problems import ApiProblemError
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, duration, exact, pairs, parse_time, spell, style_of

app = App(name="hosts", help="Hosts and their state.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("Host", whole=True),
    Column("State", whole=True),
    Column("OS"),
    Column("Updates", right=True),
    Column("Security", right=True),
    Column("Reboot"),
    Column("Seen", whole=True),
    Column("Agent", spare=True),
    Column("Id", whole=True, spare=True),
)


@app.command(name="list")
def list_hosts(
    *,
    q: Annotated[str | None, Parameter(help="Text in the name or operating system.")] = None,
    state: Annotated[str | None, Parameter(help="active, pending, revoked or quarantined.")] = None,
    group: Annotated[str | None, Parameter(help="Members of this group: name or id.")] = None,
    tag: Annotated[str | None, Parameter(help="With this tag: NAME or NAME=VALUE.")] = None,
    under: Annotated[str | None, Parameter(help="This host and everything that runs on it.")] = None,
    os: Annotated[str | None, Parameter(help="Text in the operating system.")] = None,
    version_below: Annotated[str | None, Parameter(help="Agents older than this version.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List hosts by name."""

    async def work(session: Session) -> ExitCode:
        query = {
            "q": q, "state": state, "group": group, "tag": tag, "under": under, "os": os,
            "version_below": version_below,
        }  # fmt: skip
        page = await listing.fetch(session, "/hosts", query, rows)
        now = session.api.now

        def row(host: Json) -> list[Cell]:
            updates = host["updates"]
            return [
                host["hostname"],
                Styled(spell(host["state"]), style_of(host["state"])),
                f"{dash(host['os_name'])} {host['os_version'] or ''}".strip(),
                str(updates["available"]),
                Styled(str(updates["security"]), "red" if updates["security"] else ""),
                Styled("needed", "yellow") if host["reboot_required"] else "no",
                ago(host["last_seen_at"], now),
                _agent(host),
                host["id"],
            ]

        filtered = any(value is not None for value in query.values())
        empty = "No host matches." if filtered else "No hosts yet. Let one in with: redflag tokens create"
        listing.show(session, page, _COLUMNS, row, empty=empty, footer=counted(page["total"], "host"))
        return ExitCode.DONE

    return run(common, work)


@app.command
def show(host: str, /, *, common: Common = COMMON) -> int:
    """Show one host.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        found = await session.api.get(f"/hosts/{segment(host)}")
        if session.out.as_json:
            session.out.json(found)
            return ExitCode.DONE
        fields = _fields(session, found)
        try:
            doing = await session.api.get(f"/hosts/{segment(found['id'])}/system")
        except ApiProblemError as error:
            if error.code != "no_figures":
                raise
        else:
            fields += [(name, cell) for name, cell in system_fields(session, doing) if name in _ESSENTIAL]
        session.out.fields(fields)
        return ExitCode.DONE

    return run(common, work)


_ESSENTIAL = ("Up", "Load", "Memory", "Services to restart")

for _command in (tag, untag, parent, tree, system, storage, metrics):
    app.command(_command)


def _fields(session: Session, host: Json) -> list[tuple[str, Cell]]:
    now, updates = session.api.now, host["updates"]
    age = host["inventory_source_age_s"]
    lists = "" if age is None else f", from package lists {duration(age)} old"
    fields: list[tuple[str, Cell]] = [
        ("Host", host["hostname"]),
        ("Id", host["id"]),
        ("State", Styled(spell(host["state"]), style_of(host["state"]))),
        ("OS", f"{dash(host['os_name'])} {host['os_version'] or ''}".strip()),
        ("Kernel", f"{dash(host['kernel'])} ({dash(host['arch'])})"),
        ("Agent", _agent(host)),
        (
            "Updates",
            f"{updates['available']} ({updates['security']} security, {updates['approved']} approved)",
        ),
        ("Last scan", f"{ago(host['inventory_at'], now)}{lists}"),
        ("Reboot", Styled("needed", "yellow") if host["reboot_required"] else "not needed"),
        ("Commands", f"{host['pending_commands']} without an end yet"),
        ("Polls", _polls(host, session)),
        ("Last seen", f"{ago(host['last_seen_at'], now)} ({exact(host['last_seen_at'])})"),
        ("Joined", exact(host["created_at"])),
        ("Tags", pairs(host["tags"])),
        ("Groups", dash(", ".join(group["name"] for group in host["groups"]))),
        ("Runs on", dash(host["parent"])),
    ]
    return fields + [_capability(one) for one in host["capabilities"] if isinstance(one, dict)]


def _polls(host: Json, session: Session) -> Cell:
    until = parse_time(host["fast_until"])
    if host["fast_until_stopped"]:
        return Styled("fast, until stopped", "bright_blue")
    if until is not None and until > session.api.now:
        return Styled(f"fast, until {exact(host['fast_until'])}", "bright_blue")
    return "in the usual way"


def _agent(host: Json) -> Cell:
    said = dash(host["agent_version"])
    if host["below_minimum"]:
        return Styled(f"{said}, below the minimum", "red")
    return Styled(f"{said}, update available", "yellow") if host["update_available"] else said


def _capability(one: Json) -> tuple[str, Cell]:
    name = f"{dash(one.get('manager'))}"
    if one.get("can_install"):
        return name, Styled("scans and installs", "green")
    return name, f"scans only: {dash(one.get('reason'))}"
