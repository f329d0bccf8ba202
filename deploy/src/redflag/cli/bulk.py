"""Doing something on many hosts: which ones are meant, asking for the job, and the confirmation of a restart."""

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Group, Parameter

from redflag.cli.api_values import Json, segment
from redflag.cli.exit_codes import ExitCode
from redflag.cli.jobs_view import follow_job, job_outcome, left_out_lines, say_job
from redflag.cli.options import Waiting
from redflag.cli.problems import ConflictError, UsageRefusedError
from redflag.cli.run import Session
from redflag.cli.terminal_text import one_line
from redflag.cli.words import counted

NAMED_MAX: Final = 5  # hosts named in a question

_HOSTS = Group("Which hosts", sort_key=70)


@Parameter(name="*", group=_HOSTS)
@dataclass(frozen=True)
class Hosts:
    """Many hosts.

    Attributes:
        all_: every active host.
        host: these, by name or id.
        group, tag, under, os, needs_reboot: active hosts that match all that is given.
    """

    all_: Annotated[
        bool, Parameter(name="--all", negative="", show_default=False, help="Every active host.")
    ] = False
    host: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="This one: name or id; may be repeated."),
    ] = ()
    group: Annotated[str | None, Parameter(help="Members of this group.")] = None
    tag: Annotated[str | None, Parameter(help="Hosts with this tag: NAME or NAME=VALUE.")] = None
    under: Annotated[str | None, Parameter(help="This host and everything that runs on it.")] = None
    os: Annotated[str | None, Parameter(help="Text in the operating system's name or version.")] = None
    needs_reboot: Annotated[
        bool, Parameter(negative="", show_default=False, help="Hosts that wait for a restart.")
    ] = False

    @property
    def conditions(self) -> Json:
        """The conditions given, as the API names them."""
        given = {
            "group": self.group,
            "tag": self.tag,
            "under": self.under,
            "os": self.os,
            "reboot_required": self.needs_reboot or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def are_named(self) -> bool:
        """Whether anything is said about many hosts."""
        return bool(self.all_ or self.host or self.conditions)


NO_HOSTS: Final = Hosts()


def selection(hosts: Hosts) -> Json:
    """Return the part of a job's request that says which hosts.

    Raises:
        UsageRefusedError: nothing is said, or two things that exclude each other.
    """
    ways: list[Json] = []
    if hosts.all_:
        ways.append({"all": True})
    if hosts.host:
        ways.append({"hosts": list(dict.fromkeys(hosts.host))})
    if hosts.conditions:
        ways.append({"filter": hosts.conditions})
    if len(ways) != 1:
        raise UsageRefusedError(
            "say which hosts: --all, or --host, or conditions such as --group, --tag and --os"
            if not ways
            else "--all, --host and conditions such as --group exclude each other"
        )
    return ways[0]


def one_or_many(host: str | None, hosts: Hosts) -> None:
    """Make sure that either one host is named or many are chosen.

    Raises:
        UsageRefusedError: both, or neither.
    """
    if host is not None and hosts.are_named:
        raise UsageRefusedError(f"name the host {host}, or choose many with options, not both")
    if host is None and not hosts.are_named:
        raise UsageRefusedError(
            "say which host, or which hosts: --all, --host, --group, --tag, --under, --os"
        )


async def start_job(session: Session, kind: str, params: Json, hosts: Hosts, waiting: Waiting) -> ExitCode:
    """Ask for a job; say so, or follow it to its end.

    Raises:
        CliError: it failed or took too long.
    """
    out = session.out
    job = await session.api.post("/jobs", {"kind": kind, "params": params, **selection(hosts)})
    for line in left_out_lines(job):
        out.note(line)
    code = ExitCode.DONE
    if waiting.wait:
        job = {**job, **await follow_job(session, job, waiting.timeout_s)}
        code = job_outcome(job)
    if out.as_json:
        out.json(job)
    elif waiting.wait:
        await say_job(session, job)
    else:
        out.say(f"Asked {counted(job['total'], 'host')}: job {job['id']}")
        out.note(f"Follow it with: redflag jobs show {job['id']} --wait")
    return code


async def names_of(session: Session, hosts: Hosts) -> tuple[int, list[str]]:
    """Return how many active hosts are meant, and the names of the first few.

    Raises:
        CliError: it failed.
    """
    selection(hosts)
    if hosts.host:
        names = [
            str((await session.api.get(f"/hosts/{segment(one)}"))["hostname"])
            for one in hosts.host[:NAMED_MAX]
        ]
        return len(set(hosts.host)), names
    page = await session.api.get("/hosts", {**hosts.conditions, "state": "active", "limit": NAMED_MAX})
    return int(page["total"]), [str(one["hostname"]) for one in page["items"]]


def confirm(
    session: Session,
    what: str,
    answer: str,
    asks_for: str,
    *,
    read: Callable[[], str] | None = None,
) -> None:
    """Let a person confirm by typing; a script says --yes instead.

    Args:
        session: where it is asked.
        what: what is about to happen, a sentence.
        answer: what is to be typed.
        asks_for: what that is, in words.
        read: reads a line; standard input if not given.

    Raises:
        UsageRefusedError: nobody is there to be asked.
        ConflictError: something else was typed.
    """
    out = session.out
    if read is None and not (sys.stdin.isatty() and out.stderr.isatty()):
        raise UsageRefusedError(f"{what} Nobody is at a terminal to confirm it", ["say --yes"])
    out.stderr.write(f"{one_line(what)}\nType {asks_for} to go on: ")
    out.stderr.flush()
    if (read or _line)().strip() != answer:
        raise ConflictError("not confirmed; nothing was asked of any host")


def named(names: Sequence[str], total: int) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {total - len(names)} more" if total > len(names) else ""
    return ", ".join(names) + more


def _line() -> str:
    # While a read blocks, asyncio's way of handling Ctrl-C would wait for the line's end.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, before)
