"""A plan as people read it: what is removed first, then what was asked for, then what that drags in."""

from collections.abc import Sequence

from redflag.cli.api_values import Json
from redflag.cli.output import Cell, Column, Output, Styled
from redflag.cli.words import dash, exact

_COLUMNS = (
    Column("Change"),
    Column("Package", whole=True),
    Column("From"),
    Column("To"),
    Column("Why"),
    Column("Origin"),
)
_MORE_THAN_ASKED = "It does more than was asked for, so it must be confirmed before it is installed."
_WHY_CONFIRMED = {
    "security": "The host found these security updates itself, so the plan must be confirmed before it is installed.",
    "full": "The host found these changes itself, so the plan must be confirmed before it is installed.",
    "rollback": "It goes back to older versions, so it must be confirmed before it is carried out.",
}
_FOUND = ("security", "full")  # modes in which the host finds the packages itself
_STYLES = {"remove": "red", "downgrade": "yellow"}


def sections(items: Sequence[Json]) -> tuple[list[Json], list[Json], list[Json]]:
    """Return a plan's changes as removals, what was asked for, and what comes with it; each in its order."""
    removals = [one for one in items if one["action"] == "remove"]
    kept = [one for one in items if one["action"] != "remove"]
    return removals, [one for one in kept if one["asked"]], [one for one in kept if not one["asked"]]


def sentence(items: Sequence[Json], mode: str = "packages") -> str:
    """Return what a plan does, in one line.

    Args:
        items: its changes.
        mode: of the plan; of `security` and `full` nothing was asked for by name.
    """
    if not items:
        return "nothing: the packages are held back or already there"
    removals, asked, extra = sections(items)
    if mode in _FOUND:
        parts = [f"{len(asked) + len(extra)} found by the host"]
    else:
        parts = [f"{len(asked)} asked for"]
        if extra:
            parts.append(f"{len(extra)} more with them")
    if removals:
        parts.append(f"{len(removals)} removed")
    return ", ".join(parts)


def show_plan(out: Output, plan: Json, summary: Json, *, to_stderr: bool = False) -> None:
    """Print a plan for one host.

    Args:
        out: prints.
        plan: whole.
        summary: the host's entry in it.
        to_stderr: when standard output is kept for another answer.
    """
    say = out.note if to_stderr else out.say
    mode = str(plan.get("mode"))
    unasked = "found by the host" if mode in _FOUND else "comes with it"
    say(f"Plan for {summary['hostname']} ({plan['manager']}): {sentence(plan['items'], mode)}")
    say(f"Digest {plan['digest']}")
    removals, asked, extra = sections(plan["items"])
    rows: list[list[Cell]] = []
    for one in (*removals, *asked, *extra):
        style = _STYLES.get(one["action"], "")
        why = "asked for" if one["asked"] else unasked
        rows.append(
            [
                Styled(one["action"], style),
                Styled(f"{one['name']}:{one['arch']}", style),
                dash(one["old"]),
                dash(one["new"]),
                why,
                dash(one["origin"]),
            ]
        )
    if rows:
        out.table(_COLUMNS, rows, to_stderr=to_stderr)
    if summary["confirmed_at"] is not None:
        say(f"Confirmed by {summary['confirmed_by']} at {exact(summary['confirmed_at'])}")
    elif summary["needs_confirmation"]:
        say(_WHY_CONFIRMED.get(mode, _MORE_THAN_ASKED))


def next_step(summary: Json, step: str) -> str:
    """Return what comes next for a plan: a command of `redflag updates`, or why there is none on this host."""
    reason = summary.get("cannot_install")
    if reason:
        return f"This host only looks: {reason}. To install, run its agent as root with installing allowed."
    return f"Next: redflag updates {step} {summary['hostname']}"


def confirm_line(summary: Json) -> str:
    """Return the command that confirms a plan."""
    return f"redflag updates confirm {summary['hostname']} {summary['digest']}"
