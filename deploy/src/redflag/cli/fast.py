"""`redflag fast`: let a host hold its polls open, so that what is asked of it reaches it at once."""

from typing import Annotated, Final

from cyclopts import Parameter

from redflag.cli.api_values import Json, segment
from redflag.cli.commands_view import conclude
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, WAITING, Common, Waiting, parse_duration
from redflag.cli.problems import ApiProblemError, ConflictError, UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.words import ago, exact

LEAST_S: Final = 60
MOST_S: Final = 86_400


def fast(
    host: str,
    /,
    *,
    for_: Annotated[str | None, Parameter(name="--for", help="How long, 1m to 24h: 10m, 30m, 1h.")] = None,
    until_stopped: Annotated[
        bool, Parameter(negative="", show_default=False, help="Without an end.")
    ] = False,
    stop: Annotated[bool, Parameter(negative="", show_default=False, help="End it now.")] = False,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Let a host poll fast for a while; without an option, say whether it does.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        path = f"/hosts/{segment(host)}/fast-mode"
        if sum((for_ is not None, until_stopped, stop)) > 1:
            raise UsageRefusedError("--for, --until-stopped and --stop exclude each other")
        if stop:
            return await conclude(session, await _ask(session, f"{path}/stop", None), waiting)
        if for_ is not None or until_stopped:
            body = {"duration_s": None if for_ is None else seconds_of(for_)}
            return await conclude(session, await _ask(session, path, body), waiting)
        found = await session.api.get(path)
        if session.out.as_json:
            session.out.json(found)
        else:
            session.out.say(words(host, found, session))
        return ExitCode.DONE

    return run(common, work, waiting=waiting)


def seconds_of(text: str) -> int:
    """Return the seconds of `--for`.

    Raises:
        UsageRefusedError: no duration, or out of bounds.
    """
    seconds = parse_duration(text, "--for")
    if not LEAST_S <= seconds <= MOST_S:
        raise UsageRefusedError(f"--for {text}: goes from 1m to 24h", ["or give --until-stopped"])
    return seconds


def words(host: str, found: Json, session: Session) -> str:
    """Return a host's fast mode as a sentence."""
    if not found["on"]:
        return f"{host} polls in the usual way."
    if found["until_stopped"]:
        return f"{host} polls fast until it is stopped."
    return f"{host} polls fast until {exact(found['until'])} ({ago(found['until'], session.api.now)})."


async def _ask(session: Session, path: str, body: Json | None) -> Json:
    try:
        return await session.api.post(path, body, nulls=True)
    except ApiProblemError as error:
        existing = error.body.get("existing")
        if error.code != "already_pending" or not isinstance(existing, dict) or not existing.get("id"):
            raise
        switch = "off" if existing.get("kind") == "disable_heartbeat" else "on"
        raise ConflictError(
            f"fast mode is being switched {switch} already, by command {existing['id']}",
            [
                f"redflag commands show {existing['id']} --wait",
                f"redflag commands cancel {existing['id']}",
            ],
        ) from None
