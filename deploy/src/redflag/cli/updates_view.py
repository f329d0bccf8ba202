"""Updates as rows of a table."""

from redflag.cli.api_values import Json
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.words import dash, spell, style_of

COLUMNS = (
    Column("Host", whole=True),
    Column("Package", whole=True),
    Column("Installed"),
    Column("Candidate"),
    Column("Security"),
    Column("State", whole=True),
    Column("Manager", spare=True),
)


def row(update: Json) -> list[Cell]:
    """Return the cells of one update."""
    state = str(update["state"])
    availability = update["availability"]
    about = spell(availability)
    if availability == "phased" and update.get("phased_percent") is not None:
        about = f"{about}, {update['phased_percent']} %"
    told = spell(state) if availability in {"available", state} else f"{spell(state)} ({about})"
    severity = update.get("severity")
    security = ("yes" if severity is None else severity) if update["security"] else "no"
    return [
        update["hostname"],
        f"{update['name']}:{update['arch']}",
        dash(update["installed"]),
        dash(update["candidate"]),
        Styled(security, "red") if update["security"] else security,
        Styled(told, style_of(state)),
        update["manager"],
    ]
