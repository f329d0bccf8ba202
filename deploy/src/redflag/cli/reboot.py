"""`redflag reboot`: restart hosts, after a confirmation."""

from typing import Annotated, Final

from cyclopts import Parameter

from redflag.cli.api_values import Json, segment
from redflag.cli.bulk import NO_HOSTS, Hosts, confirm, named, names_of, one_or_many, start_job
from redflag.cli.commands_view import ask, conclude
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, WAITING, Common, Waiting, parse_duration
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.words import counted

DELAY_MAX_S: Final = 86_400  # the API's own bound
REASON_MAX: Final = 200  # characters; the API's own bound


def reboot(
    host: str | None = None,
    /,
    *,
    delay: Annotated[
        str,
        Parameter(
            help="How long the host waits first, for example 0, 90s, 5m; it can be cancelled until then."
        ),
    ] = "1m",
    reason: Annotated[str, Parameter(show_default=False, help="One line for the people on the host.")] = "",
    yes: Annotated[
        bool, Parameter(negative="", show_default=False, help="Do not ask for a confirmation.")
    ] = False,
    hosts: Hosts = NO_HOSTS,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Restart a host, or many.

    A person at a terminal types the host's name (for many: how many they are) to confirm; a script says --yes.
    Whether a host may be restarted is its own policy; with --wait the end is known when it is back.

    Parameters
    ----------
    host
        Its name or id.
    """

    async def work(session: Session) -> ExitCode:
        one_or_many(host, hosts)
        params: Json = {"delay_s": delay_seconds(delay), "reason": checked_reason(reason)}
        if host is None:
            if not yes:
                await confirm_restarts(session, hosts, params["delay_s"])
            return await start_job(session, "reboot", params, hosts, waiting)
        if not yes:
            found = await session.api.get(f"/hosts/{segment(host)}")
            name = str(found["hostname"])
            confirm(session, f"This restarts {name} {_when(params['delay_s'])}.", name, "its name")
        command = await ask(
            session, f"/hosts/{segment(host)}/reboot", params, join=params if waiting.wait else None
        )
        return await conclude(session, command, waiting)

    return run(common, work, waiting=waiting)


async def confirm_restarts(session: Session, hosts: Hosts, delay_s: int) -> None:
    """Let a person confirm that many hosts are restarted, by typing how many they are.

    Raises:
        CliError: not confirmed, or it failed.
    """
    total, names = await names_of(session, hosts)
    if total:  # for none at all the server says so
        what = f"This restarts {counted(total, 'host')} {_when(delay_s)}: {named(names, total)}."
        confirm(session, what, str(total), "the number of hosts")


def _when(delay_s: int) -> str:
    if not delay_s:
        return "at once"
    return f"after {delay_s} s" if delay_s % 60 else f"after {delay_s // 60} min"


def delay_seconds(text: str) -> int:
    """Return the seconds of `--delay`; `0` is at once.

    Raises:
        UsageRefusedError: no duration, or out of bounds.
    """
    seconds = 0 if text.strip() in ("0", "0s") else parse_duration(text, "--delay")
    if seconds > DELAY_MAX_S:
        raise UsageRefusedError(f"--delay {text}: goes from 0 to 24h")
    return seconds


def checked_reason(text: str) -> str:
    """Return the reason.

    Raises:
        UsageRefusedError: it is too long, or more than a line.
    """
    if len(text) > REASON_MAX or not text.isprintable():
        raise UsageRefusedError(f"--reason is one line of at most {REASON_MAX} characters")
    return text
