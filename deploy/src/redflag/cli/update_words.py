"""`redflag updates approve|reject|ignore|reset`: a word on updates of one host, or of one package everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Group, Parameter

from redflag.cli.api_values import Json
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, Common
from redflag.cli.packages import parse_packages
from redflag.cli.problems import UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.updates_view import COLUMNS, row
from redflag.cli.words import counted

Manager = Annotated[str | None, Parameter(help="Package manager, when the names fit several.")]
All = Annotated[
    bool, Parameter(name="--all", negative="", show_default=False, help="All updates of the host.")
]
Security = Annotated[
    bool, Parameter(negative="", show_default=False, help="All security updates of the host.")
]

_ACROSS = Group("One package on many hosts, instead of HOST", sort_key=60)


@Parameter(name="*", group=_ACROSS)
@dataclass(frozen=True)
class Across:
    """One package wherever it is listed.

    Attributes:
        package: its name.
        candidate: only where this is the candidate.
        group, tag, under: only of these hosts.
    """

    package: Annotated[str | None, Parameter(help="This package on every host that lists it.")] = None
    candidate: Annotated[str | None, Parameter(help="Only where this version is the candidate.")] = None
    group: Annotated[str | None, Parameter(help="Only members of this group.")] = None
    tag: Annotated[str | None, Parameter(help="Only hosts with this tag: NAME or NAME=VALUE.")] = None
    under: Annotated[str | None, Parameter(help="Only this host and what runs on it.")] = None

    @property
    def given(self) -> Json:
        """What is given, as the API names it."""
        values = {
            "package": self.package,
            "candidate": self.candidate,
            "group": self.group,
            "tag": self.tag,
            "under": self.under,
        }
        return {name: value for name, value in values.items() if value is not None}


ACROSS: Final = Across()

_DONE: Final = {"approve": "approved", "reject": "rejected", "ignore": "ignored", "reset": "pending again"}
_NEXT: Final = {
    "approve": "Next: redflag updates plan {host} --wait",
    "reject": "Another candidate is a new question. Take it back with: redflag updates reset {host}",
    "ignore": "They stay so whatever the candidate. Take it back with: redflag updates reset {host}",
}


def approve(
    host: str | None = None,
    /,
    *packages: str,
    all_: All = False,
    security: Security = False,
    manager: Manager = None,
    across: Across = ACROSS,
    common: Common = COMMON,
) -> int:
    """Approve updates of a host, at the versions that are candidates now.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION; with a version it is refused when the candidate is another one by now.
    """
    return _run("approve", host, packages, _Which(all_, security, manager, across), common)


def reject(
    host: str | None = None,
    /,
    *packages: str,
    all_: All = False,
    security: Security = False,
    manager: Manager = None,
    across: Across = ACROSS,
    common: Common = COMMON,
) -> int:
    """Reject updates of a host at the versions that are candidates now; other versions are asked about again.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME, NAME:ARCH or NAME=VERSION.
    """
    return _run("reject", host, packages, _Which(all_, security, manager, across), common)


def ignore(
    host: str | None = None,
    /,
    *packages: str,
    all_: All = False,
    security: Security = False,
    manager: Manager = None,
    across: Across = ACROSS,
    common: Common = COMMON,
) -> int:
    """Ignore updates of packages, whatever the version, until that is taken back with `reset`.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME or NAME:ARCH.
    """
    return _run("ignore", host, packages, _Which(all_, security, manager, across), common)


def reset(
    host: str | None = None,
    /,
    *packages: str,
    all_: All = False,
    security: Security = False,
    manager: Manager = None,
    across: Across = ACROSS,
    common: Common = COMMON,
) -> int:
    """Take back what was said of updates: they are pending again.

    Parameters
    ----------
    host
        Its name or id.
    packages
        NAME or NAME:ARCH.
    """
    return _run("reset", host, packages, _Which(all_, security, manager, across), common)


@dataclass(frozen=True)
class _Which:
    """Which updates are meant, beside host and packages."""

    all_: bool
    security: bool
    manager: str | None
    across: Across


def _body(word: str, host: str | None, packages: Sequence[str], which: _Which) -> Json:
    many = which.across.given
    if host is None:
        if "package" not in many:
            raise UsageRefusedError("name a host, or a package on many hosts with --package")
        if which.all_ or which.security:
            raise UsageRefusedError("--all and --security are of one host; name it")
        if word == "approve" and "candidate" not in many:
            raise UsageRefusedError(
                "name the version to approve with --candidate",
                [f"redflag updates list --name {many['package']}"],
            )
        return {**many, "manager": which.manager}
    if many:
        raise UsageRefusedError(f"--{next(iter(many))} is for many hosts; leave the host out")
    if bool(packages) + which.all_ + which.security != 1:
        raise UsageRefusedError("name packages, or say --all or --security")
    return {
        "host": host,
        "packages": parse_packages(packages, which.manager) or None,
        "all": True if which.all_ else None,
        "security": True if which.security else None,
    }


def _run(word: str, host: str | None, packages: Sequence[str], which: _Which, common: Common) -> int:
    async def work(session: Session) -> ExitCode:
        answer = await session.api.post(f"/updates/{word}", _body(word, host, packages, which))
        if session.out.as_json:
            session.out.json(answer)
        else:
            _say(session, word, answer)
        return ExitCode.DONE

    return run(common, work)


def _say(session: Session, word: str, answer: Json) -> None:
    out, count = session.out, answer["count"]
    already = answer["already_approved"] if word == "approve" else answer["already"]
    if count:
        out.table(COLUMNS, [row(one) for one in answer["approved" if word == "approve" else "changed"]])
    host = answer["hostname"]
    where = f"on {host}" if host is not None else f"on {counted(answer['hosts'], 'host')}"
    if not count and not already and not answer["busy"]:
        out.note(f"Nothing to {word} {where}.")
        return
    parts = [f"{count} {_DONE[word]}"]
    if already:
        parts.append(f"{already} had been before")
    if answer["busy"]:
        parts.append(f"{answer['busy']} left alone, because a command works on them")
    out.note(f"{', '.join(parts)}.")
    following = _NEXT.get(word)
    if following is not None and host is not None and (count or already):
        out.note(following.format(host=host))
