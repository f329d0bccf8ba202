"""`redflag updates install`: carry out exactly one plan.

Guarantees: only a plan is installed, never packages by name; what a plan does beyond the packages asked for is
installed only after somebody confirmed that plan, here by an answer at a terminal or by --yes.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from redflag.cli.api_values import Json
from redflag.cli.commands_view import ask, conclude
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, WAITING, Common, Waiting
from redflag.cli.packages import Package, parse_packages
from redflag.cli.plan_view import confirm_line, sentence, show_plan
from redflag.cli.plans import ask_for_plan, plan_of, usable_plan
from redflag.cli.problems import ApiProblemError, ConflictError, missing_names
from redflag.cli.run import Session, run
from redflag.cli.terminal_text import one_line


def install(
    host: str,
    /,
    *packages: str,
    yes: Annotated[bool, Parameter(negative="", help="Confirm the plan whatever it does.")] = False,
    manager: Annotated[str | None, Parameter(help="Package manager, when the names fit several.")] = None,
    waiting: Waiting = WAITING,
    common: Common = COMMON,
) -> int:
    """Install exactly what the host's current plan says.

    A plan is made first when there is none for these packages. When it does more than was asked for and is not
    confirmed, a person at a terminal is asked; a script ends with exit code 6.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION; those of the current plan if none is named, else the approved ones.
    """

    async def work(session: Session) -> ExitCode:
        return await _install(session, host, parse_packages(packages), manager, yes=yes, waiting=waiting)

    return run(common, work, waiting=waiting)


async def _install(
    session: Session,
    host: str,
    wanted: Sequence[Package],
    manager: str | None,
    *,
    yes: bool,
    waiting: Waiting,
) -> ExitCode:
    found = await usable_plan(session, host, wanted, manager)
    plan, entry = found or await _new_plan(session, host, wanted, manager, waiting)
    try:
        command = await _carry_out(session, plan, entry, yes=yes, waiting=waiting)
    except ApiProblemError as error:
        if error.code != "plan_outdated" or found is None:
            raise
        # Somebody planned meanwhile. What is installed then is a new plan, which is confirmed anew.
        session.out.note("The plan is outdated; making a new one.")
        plan, entry = await _new_plan(session, host, wanted, manager, waiting)
        command = await _carry_out(session, plan, entry, yes=yes, waiting=waiting)
    return await conclude(session, command, waiting)


async def _new_plan(
    session: Session, host: str, wanted: Sequence[Package], manager: str | None, waiting: Waiting
) -> tuple[Json, Json]:
    command = await ask_for_plan(session, host, wanted, manager, join=True)
    return await plan_of(session, command, waiting.timeout_s)


async def _carry_out(session: Session, plan: Json, entry: Json, *, yes: bool, waiting: Waiting) -> Json:
    # Whether a plan needs a confirmation is the server's to say, so it is asked first.
    try:
        return await _ask(session, plan, entry, waiting)
    except ApiProblemError as error:
        if error.code != "confirmation_required":
            raise
        refusal = error
    if not yes and not _person_agrees(session, plan, entry):
        mode, names = str(plan.get("mode", "packages")), missing_names(refusal.body)
        more = "does more than was asked for and " if mode == "packages" else ""
        hints = [f"not asked for: {names}"] if more and names else []
        raise ConflictError(
            f"the plan {more}is not confirmed: {sentence(plan['items'], mode)}",
            [*hints, f"confirm it with: {confirm_line(entry)}"],
        )
    await session.api.post(f"/plans/{plan['digest']}/confirm", {"host": entry["host_id"]})
    return await _ask(session, plan, entry, waiting)


async def _ask(session: Session, plan: Json, entry: Json, waiting: Waiting) -> Json:
    digest = plan["digest"]
    return await ask(
        session,
        "/updates/install",
        {"host": entry["host_id"], "plan_digest": digest},
        join={"plan_digest": digest} if waiting.wait else None,
    )


def _person_agrees(session: Session, plan: Json, entry: Json) -> bool:
    if not (sys.stdin.isatty() and session.out.stderr.isatty()):
        return False
    show_plan(session.out, plan, entry, to_stderr=True)
    session.out.stderr.write(f"Install exactly this on {one_line(entry['hostname'])}? [y/N] ")
    session.out.stderr.flush()
    return _answer() in ("y", "yes")


def _answer() -> str:
    # While a read blocks, asyncio's way of handling Ctrl-C would wait for the line's end.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline().strip().lower()
    finally:
        signal.signal(signal.SIGINT, before)
