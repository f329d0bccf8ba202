"""Plans of a host, found and made: which one is meant, and asking the host for a new one."""

from collections.abc import Sequence

from redflag.cli.api_values import Json
from redflag.cli.commands_view import ask, say_asked, say_end
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import Waiting
from redflag.cli.packages import Package, is_exactly
from redflag.cli.plan_view import next_step, show_plan
from redflag.cli.problems import CliError, ConflictError, NothingFoundError
from redflag.cli.run import Session
from redflag.cli.waiting import follow, outcome

PLANS_LOOKED_AT = 200  # newest first; an older plan cannot be carried out any more
_DIGEST_MIN = 8  # hexadecimal digits of a shortened digest


class PlanningFailedError(CliError):
    """The host could not make the plan; it was said already why."""

    exit_code = ExitCode.FAILED


async def host_plans(session: Session, host: str) -> list[Json]:
    """Return a host's plans without their changes, newest first.

    Raises:
        CliError: it failed.
    """
    page = await session.api.pages("/plans", {"host": host}, limit=PLANS_LOOKED_AT)
    items: list[Json] = page["items"]
    return items


async def whole_plan(session: Session, summary: Json) -> tuple[Json, Json]:
    """Return a plan whole, and the host's entry in it.

    Raises:
        CliError: it failed.
    """
    found = await session.api.get(f"/plans/{summary['digest']}", {"host": summary["host_id"]})
    return found, found["hosts"][0]


def choose(plans: Sequence[Json], digest: str | None, host: str) -> Json:
    """Return the plan meant: the one of a digest, which may be shortened, or the newest one.

    When a host has newest plans of several package managers, the one that waits for a confirmation is meant.

    Raises:
        NothingFoundError: there is none.
        ConflictError: there are several.
    """
    if digest is not None:
        wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
        short = len(wanted) < len("sha256:") + _DIGEST_MIN
        found = {
            one["digest"]: one for one in reversed(plans) if not short and one["digest"].startswith(wanted)
        }
        candidates = list(found.values())
    else:
        newest = [one for one in plans if one["newest"]]
        candidates = [one for one in newest if one["needs_confirmation"]] or newest
    if not candidates:
        which = f"plan {digest}" if digest is not None else "plan"
        raise NothingFoundError(f"{host} has no {which}", [f"redflag updates plan {host} --wait"])
    if len(candidates) > 1:
        raise ConflictError(
            "several plans fit; name one", [f"{one['digest']} ({one['manager']})" for one in candidates]
        )
    return candidates[0]


async def usable_plan(
    session: Session, host: str, wanted: Sequence[Package], manager: str | None
) -> tuple[Json, Json] | None:
    """Return the host's newest plan (whole, and its entry) if it can be carried out as it stands, else None.

    A plan whose installation came to an end, whichever, is used up: the host is another one since.

    Args:
        session: the server.
        host: id or name.
        wanted: packages the plan must have been asked for; empty for any.
        manager: of which package manager; None for any.

    Raises:
        CliError: it failed, or several package managers have a plan and nothing says which is meant.
    """
    fitting = []
    for summary in [one for one in await host_plans(session, host) if one["newest"]]:
        if manager is not None and summary["manager"] != manager:
            continue
        plan, entry = await whole_plan(session, summary)
        if (not wanted or is_exactly(wanted, plan["request"])) and await _is_open(session, plan):
            fitting.append((plan, entry))
    if len(fitting) > 1:
        raise ConflictError(
            "several package managers have a plan; name one with --manager",
            [f"{plan['manager']}: {plan['digest']}" for plan, _ in fitting],
        )
    return fitting[0] if fitting else None


async def _is_open(session: Session, plan: Json) -> bool:
    last = plan["last_install"]
    if last is None:
        return True
    command = await session.api.get(f"/commands/{last['command_id']}")
    return not command["ended"]


async def ask_for_plan(
    session: Session,
    host: str,
    wanted: Sequence[Package],
    manager: str | None,
    *,
    join: bool,
    mode: str = "packages",
) -> Json:
    """Ask a host for a plan; return the command.

    Args:
        session: the server.
        host: id or name.
        wanted: packages; empty for the approved ones.
        manager: of which package manager; None when there is only one.
        join: follow a command that makes this very plan already.
        mode: `packages`, or `security` or `full`, which name none.

    Raises:
        CliError: it failed.
    """
    body: Json = {"host": host, "packages": list(wanted) or None, "manager": manager, "mode": mode}
    try:
        return await ask(session, "/updates/plan", body, join=None)
    except CliError as error:
        existing = getattr(error, "body", {}).get("existing")
        if not join or not wanted or not isinstance(existing, dict):
            raise
        if not is_exactly(wanted, (existing.get("params") or {}).get("packages") or []):
            raise
        session.out.note("This plan is being made already; following that command.")
        return existing


async def show_planned(session: Session, command: Json, waiting: Waiting) -> ExitCode:
    """Say that a plan was asked for, or wait for it and print it and what comes next.

    Raises:
        CliError: as `plan_of`.
    """
    out = session.out
    if not waiting.wait:
        out.json(command) if out.as_json else say_asked(out, command)
        return ExitCode.DONE
    found, summary = await plan_of(session, command, waiting.timeout_s)
    if out.as_json:
        out.json(found)
        return ExitCode.DONE
    show_plan(out, found, summary)
    if found["items"]:
        out.note(next_step(summary, "confirm" if summary["needs_confirmation"] else "install"))
    return ExitCode.DONE


async def plan_of(session: Session, command: Json, timeout_s: float) -> tuple[Json, Json]:
    """Wait for a command that makes a plan; return the plan whole, and the host's entry in it.

    Raises:
        PlanningFailedError: the host made none.
        CliError: it failed or took too long.
    """
    ended = await follow(session.api, session.out, command, timeout_s=timeout_s)
    digest = ended.get("plan_digest")
    if outcome(ended) is not ExitCode.DONE or digest is None:
        if not session.out.as_json:
            say_end(session.out, ended)
        raise PlanningFailedError(
            f"{ended['hostname']} made no plan", [f"redflag commands show {ended['id']}"]
        )
    return await whole_plan(session, {"digest": digest, "host_id": ended["host_id"]})
