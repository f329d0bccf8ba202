"""`redflag hosts tag|untag|parent|tree`: what operators say about hosts, and what runs on what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from redflag.cli import listing
from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS_MAX, Common, Rows
from redflag.cli.output import Column
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.words import dash, pairs, spell


def tag(host: str, /, *tags: str, common: Common = COMMON) -> int:
    """Set tags of a host.

    Parameters
    ----------
    host
        Its name or id.
    tags
        NAME=VALUE.
    """

    async def work(session: Session) -> ExitCode:
        from redflag.cli.tokens import parse_tags  # noqa: PLC0415 - half of that module is not needed here

        chosen = parse_tags(tags)
        if not chosen:
            raise UsageRefusedError("name tags", ["write NAME=VALUE"])
        return await _change(session, host, "tags", {"set": chosen})

    return run(common, work)


def untag(host: str, /, *names: str, common: Common = COMMON) -> int:
    """Remove tags of a host.

    Parameters
    ----------
    host
        Its name or id.
    names
        The tags' names.
    """

    async def work(session: Session) -> ExitCode:
        if not names:
            raise UsageRefusedError("name tags", ["redflag hosts show HOST"])
        return await _change(session, host, "tags", {"remove": list(names)})

    return run(common, work)


def parent(
    host: str,
    above: str | None = None,
    /,
    *,
    none: Annotated[bool, Parameter(negative="", help="It runs on no other host.")] = False,
    common: Common = COMMON,
) -> int:
    """Say on which host a host runs: a guest on its node, a container in its guest.

    Parameters
    ----------
    host
        Its name or id.
    above
        Name or id of the host it runs on.
    """

    async def work(session: Session) -> ExitCode:
        if (above is None) is not none:
            raise UsageRefusedError("name the host it runs on, or say --none")
        return await _change(session, host, "parent", {"parent": above}, nulls=True)

    return run(common, work)


async def _change(
    session: Session, host: str, what: str, body: Mapping[str, object], *, nulls: bool = False
) -> ExitCode:
    changed = await session.api.post(f"/hosts/{segment(host)}/{what}", body, nulls=nulls)
    if session.out.as_json:
        session.out.json(changed)
    else:
        on = f"; runs on {changed['parent']}" if changed["parent"] else ""
        session.out.note(f"{changed['hostname']}: tags {pairs(changed['tags'])}{on}.")
    return ExitCode.DONE


_TREE = (
    Column("Host", whole=True),
    Column("State", whole=True),
    Column("OS"),
    Column("Updates", right=True),
    Column("Id", whole=True, spare=True),
)


def tree(host: str | None = None, /, *, common: Common = COMMON) -> int:
    """Show which host runs on which.

    Parameters
    ----------
    host
        Only this one and what runs on it: name or id.
    """

    async def work(session: Session) -> ExitCode:
        page = await listing.fetch(session, "/hosts", {"under": host}, Rows(limit=ROWS_MAX))
        if session.out.as_json:
            session.out.json(page)
            return ExitCode.DONE
        rows = [
            [
                branch + one["hostname"],
                spell(one["state"]),
                f"{dash(one['os_name'])} {one['os_version'] or ''}".strip(),
                str(one["updates"]["available"]),
                one["id"],
            ]
            for branch, one in branches(page["items"])
        ]
        if rows:
            session.out.table(_TREE, rows)
        else:
            session.out.empty("No hosts yet. Let one in with: redflag tokens create")
        return ExitCode.DONE

    return run(common, work)


def branches(hosts: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Yield hosts in the order of the tree, each once, with the branch that leads to it.

    A host whose own one is not among them stands at the root; so does one of a circle, which should not be.
    """
    known = {one["id"] for one in hosts}
    below: dict[str | None, list[Json]] = {}
    for one in hosts:
        below.setdefault(one["parent_id"] if one["parent_id"] in known else None, []).append(one)
    seen: set[str] = set()

    def walk(siblings: Sequence[Json], indent: str | None) -> Iterator[tuple[str, Json]]:
        for number, one in enumerate(siblings):
            if one["id"] in seen:
                continue
            seen.add(one["id"])
            last = number == len(siblings) - 1
            yield "" if indent is None else indent + ("`- " if last else "|- "), one
            inner = "" if indent is None else indent + ("   " if last else "|  ")
            yield from walk(below.get(one["id"], ()), inner)

    yield from walk(below.get(None, ()), None)
    for one in hosts:
        if one["id"] not in seen:
            yield from walk([one], None)
