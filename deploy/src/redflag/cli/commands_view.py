"""How a command is shown when it was asked for, when it has ended, and whole. Used by every command that asks."""

from collections.abc import Mapping
from typing import Final

from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Waiting
from redflag.cli.output import Output, Styled
from redflag.cli.problems import ApiProblemError
from redflag.cli.run import Session
from redflag.cli.waiting import follow, outcome
from redflag.cli.words import spell, style_of, took


async def ask(session: Session, path: str, body: Json, *, join: Json | None) -> Json:
    """Ask for a command, or find the one that does the same already.

    Args:
        session: the server and who asks.
        path: where commands of this kind are asked for.
        body: the request.
        join: parameters that make a command under way the one wanted; None refuses to join any.

    Raises:
        CliError: it failed, or another command is in the way.
    """
    try:
        return await session.api.post(path, body)
    except ApiProblemError as error:
        existing = error.body.get("existing")
        if error.code != "already_pending" or join is None or not isinstance(existing, dict):
            raise
        params = existing.get("params") or {}
        if not existing.get("id") or any(params.get(name) != value for name, value in join.items()):
            raise
        session.out.note("The same is under way already; following that command.")
        return existing


async def conclude(session: Session, command: Json, waiting: Waiting) -> ExitCode:
    """Say that a command was asked for, or wait for its end and say how it went.

    Raises:
        CliError: it failed or took too long.
    """
    out = session.out
    if waiting.wait:
        command = await follow(session.api, out, command, timeout_s=waiting.timeout_s)
        code = outcome(command)
    else:
        code = ExitCode.DONE
    if out.as_json:
        out.json(command)
    elif waiting.wait:
        say_end(out, command)
    else:
        say_asked(out, command)
    return code


def say_asked(out: Output, command: Json) -> None:
    """Say that a command was asked for, and how to follow it."""
    out.say(f"Asked: {spell(command['kind'])} on {command['hostname']}, command {command['id']}")
    out.note(f"Follow it with: redflag commands show {command['id']} --wait")


def say_end(out: Output, command: Json, *, more: bool = True) -> None:
    """Say how a command went; for one that went wrong also why and, with `more`, where there is more."""
    state = str(command["state"])
    lasted = "" if command.get("duration_ms") is None else f" in {took(command['duration_ms'])}"
    out.say(
        f"{spell(command['kind']).capitalize()} on {command['hostname']}: {spell(state)}{lasted}",
        style_of(state),
    )
    told = summary_text(command)
    if told:
        out.say(told)
    if outcome(command) is not ExitCode.DONE:
        reason = why(command)
        if reason and reason != told:
            out.say(reason)
        if more:
            out.note(f"More with: redflag commands show {command['id']}")


_ORDINALS: Final = {1: "st", 2: "nd", 3: "rd"}
_FOR_PROGRAMS: Final = frozenset({"letter", "report", "implied", "intent", "nonce"})


def detail_text(detail: Mapping[str, object]) -> str:
    """Return what a timeline's event says to people: names and values, without what only programs can use."""
    told = ((name, value) for name, value in detail.items() if name not in _FOR_PROGRAMS)
    return ", ".join(f"{spell(name)} {_plain(value)}" for name, value in told if value not in (None, ""))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return spell(value) if isinstance(value, str) else str(value)


def asker(command: Json) -> str:
    """Return who asked for a command."""
    by = str(command["requested_by"])
    return f"RedFlag ({by})" if command.get("source") == "system" else by


def nth(number: int) -> str:
    """Return a number as an ordinal: 1st, 2nd, 3rd, 4th; right up to 20."""
    return f"{number}{_ORDINALS.get(number, 'th')}"


def cancel_text(cancel: Json) -> str:
    """Return how the newest attempt to cancel a command stands."""
    reason = f": {cancel['reason']}" if cancel.get("reason") else ""
    return f"{spell(cancel['state'])}{reason} (by {cancel['requested_by']}, command {cancel['command_id']})"


def summary_text(command: Json) -> str:
    """Return the server's line about what was done; empty for none."""
    summary = command.get("summary")
    return str(summary.get("text") or "") if isinstance(summary, dict) else ""


def why(command: Json) -> str:
    """Return why a command went wrong; empty for no reason given."""
    error, code, result = command.get("error"), command.get("code"), command.get("result")
    if error:
        return f"{error} ({code})" if code else str(error)
    if code:
        return f"{command['reason']} ({code})" if command.get("reason") else spell(code)
    return spell(result) if result and result != command.get("state") else ""


def state_cell(command: Json) -> Styled:
    """Return a command's state as a cell, with its result where that says more."""
    state, result = str(command["state"]), command.get("result")
    told = spell(state) if result in (None, state) else f"{spell(state)} ({spell(result)})"
    return Styled(told, style_of(state))
