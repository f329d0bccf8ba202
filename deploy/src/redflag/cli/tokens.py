"""`redflag tokens`: letting hosts in."""

from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, Parameter

from redflag.cli import exit_codes, listing
from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, ROWS, Common, Rows, parse_duration
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.problems import ConflictError, UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.words import ago, counted, dash, exact, pairs

app = App(name="tokens", help="Tokens that let hosts in.", help_epilogue=exit_codes.HELP)

# The API's bounds (docs/protocol.md 8.1), said here in the words of the options.
SEATS_MAX: Final = 10_000
LIFE_MIN_S: Final = 60
LIFE_MAX_S: Final = 7 * 24 * 3600
DAY_S: Final = 24 * 3600

_COLUMNS = (
    Column("Id", whole=True),
    Column("State", whole=True),
    Column("Seats", right=True),
    Column("Expires"),
    Column("Made"),
    Column("By"),
    Column("Note"),
    Column("Tags"),
)


def parse_tags(texts: Sequence[str]) -> dict[str, str]:
    """Return the tags of `NAME=VALUE`.

    Raises:
        UsageRefusedError: one is something else, or a name stands twice.
    """
    tags: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise UsageRefusedError(f"{text!r} is no tag", ["write NAME=VALUE"])
        if name in tags:
            raise UsageRefusedError(f"the tag {name!r} stands twice")
        tags[name] = value
    return tags


@app.command
def create(
    *,
    seats: Annotated[int, Parameter(help="How many hosts it lets in.")] = 1,
    expires: Annotated[str, Parameter(help="How long it works, for example 90m, 24h, 7d.")] = "24h",
    note: Annotated[str | None, Parameter(help="What it is for.")] = None,
    tag: Annotated[
        tuple[str, ...], Parameter(negative="", help="NAME=VALUE for the hosts that join; may be repeated.")
    ] = (),
    common: Common = COMMON,
) -> int:
    """Make a token; its secret is shown this once."""

    async def work(session: Session) -> ExitCode:
        if not 1 <= seats <= SEATS_MAX:
            raise UsageRefusedError(f"--seats {seats}: goes from 1 to {SEATS_MAX}")
        life_s = parse_duration(expires, "--expires")
        if not LIFE_MIN_S <= life_s <= LIFE_MAX_S:
            raise UsageRefusedError(f"--expires {expires}: goes from {LIFE_MIN_S}s to {LIFE_MAX_S // DAY_S}d")
        body = {
            "seats": seats,
            "expires_in_s": life_s,
            "note": note,
            "tags": parse_tags(tag) or None,
        }
        answer = await session.api.post("/enrollment-tokens", body)
        out = session.out
        if answer["token"] is None:
            # The connection broke after it was made; the answer with the secret was on its way then.
            raise ConflictError(
                f"token {answer['id']} was made, but its secret was lost on the way", ["make another one"]
            )
        if out.as_json:
            out.json(answer)
            return ExitCode.DONE
        line = answer["install"]
        hosts = counted(answer["seats"], "host")
        out.note(f"Token {answer['id']} lets in {hosts} until {exact(answer['expires_at'])}.")
        if line:
            out.note("Run this on the host as root; it is not shown again:")
        out.say(line or answer["token"])
        return ExitCode.DONE

    return run(common, work)


@app.command(name="list")
def list_tokens(
    *,
    active: Annotated[
        bool | None,
        Parameter(negative="--inactive", help="Only those that still let hosts in, or the others."),
    ] = None,
    rows: Rows = ROWS,
    common: Common = COMMON,
) -> int:
    """List tokens, newest first; their secrets are not kept anywhere."""

    async def work(session: Session) -> ExitCode:
        page = await listing.fetch(session, "/enrollment-tokens", {"active": active}, rows)
        now = session.api.now

        def row(token: Json) -> list[Cell]:
            return [
                token["id"],
                Styled("active", "green") if token["active"] else _why_not(token),
                f"{token['used']}/{token['seats']}",
                ago(token["expires_at"], now),
                ago(token["created_at"], now),
                token["created_by"],
                dash(token["note"]),
                pairs(token["tags"]),
            ]

        empty = "No tokens. Make one with: redflag tokens create" if active is None else "No token matches."
        listing.show(session, page, _COLUMNS, row, empty=empty, footer=counted(page["total"], "token"))
        return ExitCode.DONE

    return run(common, work)


def _why_not(token: Json) -> str:
    if token["revoked_at"] is not None:
        return "revoked"
    return "used up" if token["used"] >= token["seats"] else "expired"
