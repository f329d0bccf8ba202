"""`redflag groups`: hosts put together by hand."""

from typing import Annotated

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows
from redflag.cli.output import Cell, Column
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, exact

app = App(name="groups", help="Hosts put together by hand.", help_epilogue=exit_codes.HELP)

_COLUMNS = (
    Column("Group", whole=True),
    Column("Hosts", right=True),
    Column("Description"),
    Column("Made"),
    Column("By"),
    Column("Id", whole=True, spare=True),
)


@app.command(name="list")
def list_groups(
    *,
    q: Annotated[str | None, Parameter(help="Text in the name or description.")] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List groups by name."""

    async def work(session: Session) -> ExitCode:
        page = await listing.fetch(session, "/groups", {"q": q}, rows)
        now = session.api.now

        def row(group: Json) -> list[Cell]:
            return [
                group["name"],
                str(group["hosts"]),
                dash(group["description"]),
                ago(group["created_at"], now),
                group["created_by"],
                group["id"],
            ]

        empty = "No group matches." if q else "No groups yet. Make one with: redflag groups create NAME"
        listing.show(session, page, _COLUMNS, row, empty=empty, footer=counted(page["total"], "group"))
        return ExitCode.DONE

    return run(common, work)


@app.command
def show(group: str, /, *, common: Common = COMMON) -> int:
    """Show one group; its hosts: redflag hosts list --group GROUP.

    Parameters
    ----------
    group
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        _print(session, await session.api.get(f"/groups/{segment(group)}"))
        return ExitCode.DONE

    return run(common, work)


@app.command
def create(
    name: str,
    /,
    *,
    description: Annotated[str | None, Parameter(help="What it is for.")] = None,
    common: Common = COMMON,
) -> int:
    """Make a group.

    Parameters
    ----------
    name
        1 to 64 letters, digits, blanks and _ . -; the same in any case of letters.
    """

    async def work(session: Session) -> ExitCode:
        made = await session.api.post("/groups", {"name": name, "description": description})
        _print(session, made)
        session.out.note(f"Next: redflag groups add {_word(made['name'])} HOSTS")
        return ExitCode.DONE

    return run(common, work)


@app.command
def rename(group: str, name: str, /, *, common: Common = COMMON) -> int:
    """Give a group another name.

    Parameters
    ----------
    group
        Its name or id.
    name
        The new name.
    """
    return _change(group, {"name": name}, common)


@app.command
def describe(group: str, description: str, /, *, common: Common = COMMON) -> int:
    """Say what a group is for.

    Parameters
    ----------
    group
        Its name or id.
    description
        One line; '' for none.
    """
    return _change(group, {"description": description}, common)


@app.command
def delete(group: str, /, *, common: Common = COMMON) -> int:
    """Delete a group; its hosts stay.

    Parameters
    ----------
    group
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        gone = await session.api.post(f"/groups/{segment(group)}/delete", None)
        if session.out.as_json:
            session.out.json(gone)
        else:
            session.out.note(f"Deleted the group {gone['name']}.")
        return ExitCode.DONE

    return run(common, work)


@app.command
def add(group: str, /, *hosts: str, common: Common = COMMON) -> int:
    """Put hosts into a group.

    Parameters
    ----------
    group
        Its name or id.
    hosts
        Their names or ids.
    """
    return _members(group, "add", hosts, common)


@app.command
def remove(group: str, /, *hosts: str, common: Common = COMMON) -> int:
    """Take hosts out of a group.

    Parameters
    ----------
    group
        Its name or id.
    hosts
        Their names or ids.
    """
    return _members(group, "remove", hosts, common)


def _change(group: str, body: dict[str, object], common: Common) -> int:
    async def work(session: Session) -> ExitCode:
        _print(session, await session.api.post(f"/groups/{segment(group)}", body))
        return ExitCode.DONE

    return run(common, work)


def _members(group: str, verb: str, hosts: tuple[str, ...], common: Common) -> int:
    async def work(session: Session) -> ExitCode:
        if not hosts:
            raise UsageRefusedError("name hosts", ["redflag hosts list"])
        done = await session.api.post(f"/groups/{segment(group)}/{verb}", {"hosts": list(hosts)})
        if session.out.as_json:
            session.out.json(done)
            return ExitCode.DONE
        name, total = done["group"]["name"], done["group"]["hosts"]
        before = (
            f"; {done['unchanged']} {'in it before' if verb == 'add' else 'not in it'}"
            if done["unchanged"]
            else ""
        )
        put = "put into" if verb == "add" else "taken out of"
        session.out.note(
            f"{counted(done['changed'], 'host')} {put} {name}{before}. It has {counted(total, 'host')}."
        )
        return ExitCode.DONE

    return run(common, work)


def _print(session: Session, group: Json) -> None:
    if session.out.as_json:
        session.out.json(group)
        return
    session.out.fields(
        [
            ("Group", group["name"]),
            ("Id", group["id"]),
            ("Description", dash(group["description"])),
            ("Hosts", str(group["hosts"])),
            ("Made", f"{exact(group['created_at'])} by {group['created_by']}"),
        ]
    )


def _word(text: str) -> str:
    return f"'{text}'" if " " in text else text
