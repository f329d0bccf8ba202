"""`redflag hosts`: which hosts there are, and how one of them is."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, duration, exact, pairs, spell, style_of

app = App(name="hosts", help="Hosts and their state.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("Host", whole=True),
    Column("State", whole=True),
    Column("OS"),
    Column("Updates", right=True),
    Column("Security", right=True),
    Column("Reboot"),
    Column("Seen", whole=True),
    Column("Id", whole=True, spare=True),
)


@app.command(name="list")
def list_hosts(
    *,
    q: Annotated[str | None, Parameter(help="Text in the name or operating system.")] = None,
    state: Annotated[str | None, Parameter(help="active, pending, revoked or quarantined.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List hosts by name."""

    async def work(session: Session) -> ExitCode:
        page = await listing.fetch(session, "/hosts", {"q": q, "state": state}, rows)
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
                host["id"],
            ]

        filtered = q is not None or state is not None
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
        session.out.fields(_fields(session, found))
        return ExitCode.DONE

    return run(common, work)


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
        ("Agent", dash(host["agent_version"])),
        (
            "Updates",
            f"{updates['available']} ({updates['security']} security, {updates['approved']} approved)",
        ),
        ("Last scan", f"{ago(host['inventory_at'], now)}{lists}"),
        ("Reboot", Styled("needed", "yellow") if host["reboot_required"] else "not needed"),
        ("Commands", f"{host['pending_commands']} without an end yet"),
        ("Last seen", f"{ago(host['last_seen_at'], now)} ({exact(host['last_seen_at'])})"),
        ("Joined", exact(host["created_at"])),
        ("Tags", pairs(host["tags"])),
    ]
    return fields + [_capability(one) for one in host["capabilities"] if isinstance(one, dict)]


def _capability(one: Json) -> tuple[str, Cell]:
    name = f"{dash(one.get('manager'))}"
    if one.get("can_install"):
        return name, Styled("scans and installs", "green")
    return name, f"scans only: {dash(one.get('reason'))}"
