"""How a job is followed and shown."""

from collections.abc import Mapping
from typing import Final

from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.output import Cell, Column, Styled
from redflag.cli.run import Session
from redflag.cli.waiting import Followed, follow_to_end
from redflag.cli.words import counted, dash, exact, spell, style_of

SHOWN_MAX: Final = 1000  # hosts that went wrong, shown of one job

_GOOD: Final = "succeeded"
_ENDS: Final = ("succeeded", "failed", "cancelled", "expired", "rejected", "parked", "unknown")

_COLUMNS = (
    Column("Host", whole=True),
    Column("State", whole=True),
    Column("Why"),
    Column("Command", whole=True),
)


async def follow_job(session: Session, job: Json, timeout_s: float) -> Json:
    """Wait until a job has come to its end; return it.

    Raises:
        CliError: it failed or took too long.
    """
    if job["ended"]:
        return job
    job_id = str(job["id"])
    followed = Followed("job", job_id, f"/jobs/{job_id}", f"redflag jobs show {job_id}", standing)
    return await follow_to_end(session.api, session.out, followed, job, timeout_s=timeout_s)


def standing(job: Json) -> str:
    """Return how far a job is, in one line."""
    parts = [f"{count} {spell(state)}" for state, count in _by_weight(job["commands"])]
    if job["refused"]:
        parts.append(f"{job['refused']} not asked")
    if job["waiting"]:
        parts.append(f"{job['waiting']} waiting")
    told = f": {', '.join(parts)}" if parts else ""
    return f"{spell(job['kind'])}: {job['done']} of {counted(job['total'], 'host')} done{told}"


def _by_weight(commands: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts of states: ends first, the good one before all, then those under way."""
    order = {state: place for place, state in enumerate(_ENDS)}
    return sorted(commands.items(), key=lambda one: (order.get(one[0], len(order)), one[0]))


def job_outcome(job: Json) -> ExitCode:
    """Return the exit code for a job that has come to its end: done when every host succeeded."""
    return ExitCode.DONE if job["commands"].get(_GOOD, 0) == job["total"] else ExitCode.FAILED


def left_out_lines(job: Json) -> list[str]:
    """Return which hosts that match are not in a job, and why; a line each, bounded by the server."""
    lines = [f"left out: {one['hostname']}: {one['reason']}" for one in job["left_out"]]
    more = job["left_out_count"] - len(job["left_out"])
    return [*lines, f"left out: {counted(more, 'more host')}"] if more else lines


async def say_job(session: Session, job: Json, *, every: bool = False) -> None:
    """Print a job: how far it is, then the hosts on which it went wrong, or with `every` all.

    Raises:
        CliError: it failed.
    """
    out = session.out
    out.fields(_fields(job))
    page = await session.api.pages(
        f"/jobs/{job['id']}/items", {}, limit=SHOWN_MAX if not every else job["total"]
    )
    shown = [one for one in page["items"] if every or _went_wrong(one)]
    if shown:
        out.say()
        out.table(_COLUMNS, [_item(one) for one in shown])


def _went_wrong(item: Json) -> bool:
    ended_badly = item["command_state"] in _ENDS and item["command_state"] != _GOOD
    return bool(item["state"] == "refused" or ended_badly)


def _item(item: Json) -> list[Cell]:
    state = item["command_state"] or ("not asked" if item["state"] == "refused" else item["state"])
    known = item["command_id"] or item["existing_id"]
    return [
        item["hostname"],
        Styled(spell(state), style_of(state)),
        dash(item["reason"] or item["command_reason"]),
        dash(known),
    ]


def job_state(job: Json) -> Styled:
    """Return a job's state as a cell."""
    return Styled(spell(job["state"]), style_of(job["state"]))


def _fields(job: Json) -> list[tuple[str, Cell]]:
    fields: list[tuple[str, Cell]] = [
        ("Job", job["id"]),
        ("State", job_state(job)),
        ("What", " ".join((spell(job["kind"]), *_params(job["params"])))),
        ("Asked by", f"{job['requested_by']} at {exact(job['requested_at'])}"),
        ("Progress", standing(job)),
    ]
    if job["cancelled_by"] is not None:
        fields.append(("Stopped by", f"{job['cancelled_by']} at {exact(job['cancelled_at'])}"))
    if job["finished_at"] is not None:
        fields.append(("Finished", exact(job["finished_at"])))
    return fields


def _params(params: Mapping[str, object]) -> list[str]:
    return [
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in params.items()
        if value != ""
    ]
