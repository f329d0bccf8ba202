"""What all lists have in common: as many rows as asked for, as JSON or as a table, and a word when more exist."""

from collections.abc import Callable, Mapping, Sequence

from redflag.cli.api_values import Json
from redflag.cli.options import ROWS_MAX, Rows
from redflag.cli.output import Cell, Column
from redflag.cli.problems import ApiProblemError, UsageRefusedError
from redflag.cli.run import Session


async def fetch(session: Session, path: str, query: Mapping[str, object], rows: Rows) -> Json:
    """Ask for a list.

    Raises:
        CliError: it failed.
    """
    if not 1 <= rows.limit <= ROWS_MAX:
        raise UsageRefusedError(f"--limit goes from 1 to {ROWS_MAX}")
    try:
        return await session.api.pages(path, query, limit=rows.limit, cursor=rows.cursor)
    except ApiProblemError as error:
        if rows.cursor is not None and "query/cursor" in error.places:
            raise UsageRefusedError(
                f"--cursor {rows.cursor}: not a place in this list",
                ["take `next` of an earlier answer to the same question, or leave --cursor out"],
            ) from None
        raise


def show(
    session: Session,
    page: Json,
    columns: Sequence[Column],
    row: Callable[[Json], Sequence[Cell]],
    *,
    empty: str,
    footer: str = "",
) -> None:
    """Print a list."""
    out, items = session.out, page["items"]
    if out.as_json:
        out.json(page)
    elif not items:
        out.empty(empty)
    else:
        out.table(columns, [row(item) for item in items])
        if footer:
            out.footer(footer)
    if page.get("next") is not None and items:
        out.note(
            f"{len(items)} of {page.get('total')} shown; more with --limit, or go on with --cursor {page['next']}"
        )
