"""`redflag export`: everything that matches, into a file or onto standard output.

Guarantees: a file appears when it is whole and not before; what was broken on the way is an error and never passes
for the end.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from cyclopts import App, Parameter

from redflag.cli import exit_codes
from redflag.cli.exit_codes import ExitCode
from redflag.cli.options import COMMON, Common, Format, Since, Until
from redflag.cli.problems import CliError, UsageRefusedError
from redflag.cli.run import Session, run
from redflag.cli.since import time_text

app = App(name="export", help="Everything that matches, as CSV or JSON.", help_epilogue=exit_codes.HELP)

Out = Annotated[Path | None, Parameter(help="File to write; standard output if not given.")]
Host = Annotated[str | None, Parameter(help="Only of this host: name or id.")]
Group = Annotated[str | None, Parameter(help="Only members of this group.")]
Tag = Annotated[str | None, Parameter(help="Only hosts with this tag: NAME or NAME=VALUE.")]
Under = Annotated[str | None, Parameter(help="Only this host and what runs on it.")]


class _TakerFailedError(Exception):
    """Whoever takes the bytes cannot; apart from errors of the connection."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@app.command
def hosts(
    *,
    q: Annotated[str | None, Parameter(help="Text in the name or operating system.")] = None,
    state: Annotated[str | None, Parameter(help="active, pending, revoked or quarantined.")] = None,
    group: Group = None,
    tag: Tag = None,
    under: Under = None,
    os: Annotated[str | None, Parameter(help="Text in the operating system.")] = None,
    version_below: Annotated[str | None, Parameter(help="Agents older than this version.")] = None,
    needs_reboot: Annotated[bool, Parameter(negative="", help="Hosts that wait for a restart.")] = False,
    out: Out = None,
    common: Common = COMMON,
) -> int:
    """Export hosts by name; CSV unless --format json."""
    query = {
        "q": q, "state": state, "group": group, "tag": tag, "under": under, "os": os,
        "version_below": version_below, "reboot_required": needs_reboot or None,
    }  # fmt: skip
    return _export("hosts", query, out, common)


@app.command
def updates(
    host: str | None = None,
    /,
    *,
    state: Annotated[str | None, Parameter(help="Only of this state, for example pending, approved.")] = None,
    security: Annotated[bool, Parameter(negative="", help="Only security updates.")] = False,
    severity: Annotated[str | None, Parameter(help="Only critical, high, medium or low.")] = None,
    availability: Annotated[
        str | None, Parameter(help="Only available, held, kept_back, phased or pinned.")
    ] = None,
    name: Annotated[str | None, Parameter(help="Text in the package's name.")] = None,
    group: Group = None,
    tag: Tag = None,
    under: Under = None,
    out: Out = None,
    common: Common = COMMON,
) -> int:
    """Export updates; CSV unless --format json.

    Parameters
    ----------
    host
        Only of this one: name or id.
    """
    query = {
        "host": host, "state": state, "security": security or None, "severity": severity,
        "availability": availability, "name": name, "group": group, "tag": tag, "under": under,
    }  # fmt: skip
    return _export("updates", query, out, common)


@app.command
def events(
    *,
    host: Host = None,
    severity: Annotated[str | None, Parameter(help="This one or a worse one.")] = None,
    component: Annotated[str | None, Parameter(help="From this component.")] = None,
    code: Annotated[str | None, Parameter(help="Only of this code.")] = None,
    since: Since = None,
    until: Until = None,
    out: Out = None,
    common: Common = COMMON,
) -> int:
    """Export system events, newest first; CSV unless --format json."""
    query = {"host": host, "severity": severity, "component": component, "code": code}
    return _export("events", query, out, common, since=since, until=until)


@app.command
def history(
    host: str | None = None,
    /,
    *,
    kind: Annotated[str | None, Parameter(help="For example scan, install_updates.")] = None,
    state: Annotated[str | None, Parameter(help="For example succeeded, failed, rejected.")] = None,
    source: Annotated[
        Literal["manual", "system"] | None,
        Parameter(help="manual: an operator asked for it; system: RedFlag itself did."),
    ] = None,
    group: Group = None,
    tag: Tag = None,
    under: Under = None,
    os: Annotated[str | None, Parameter(help="Of hosts with this text in their operating system.")] = None,
    op: Annotated[str | None, Parameter(help="Only of this operation: its id.")] = None,
    since: Since = None,
    until: Until = None,
    out: Out = None,
    common: Common = COMMON,
) -> int:
    """Export what was done, newest first; CSV unless --format json.

    Parameters
    ----------
    host
        Only on this one: name or id.
    """
    query = {
        "host": host, "kind": kind, "state": state, "source": source, "group": group, "tag": tag, "under": under,
        "os": os, "op": op,
    }  # fmt: skip
    return _export("history", query, out, common, since=since, until=until)


def _export(
    what: str,
    query: Mapping[str, object],
    out: Path | None,
    common: Common,
    *,
    since: str | None = None,
    until: str | None = None,
) -> int:
    form = Format.JSON if common.format is Format.JSON else Format.CSV

    async def work(session: Session) -> ExitCode:
        now = session.api.now
        times = {"since": time_text(since, now, "--since"), "until": time_text(until, now, "--until")}
        asked = {**query, **times, "format": form}
        try:
            if out is None:
                sys.stdout.flush()
                await session.api.export(f"/{what}/export", asked, _taker(sys.stdout.fileno()))
            else:
                await _into_file(session, f"/{what}/export", asked, out)
        except _TakerFailedError as failed:
            if isinstance(failed.error, BrokenPipeError):
                raise failed.error from None
            where = "standard output" if out is None else str(out)
            raise CliError(f"cannot write {where}: {failed.error.strerror or failed.error}") from None
        return ExitCode.DONE

    return run(common, work)


async def _into_file(session: Session, path: str, query: Mapping[str, object], out: Path) -> None:
    """Write beside the place and move there when it is whole."""
    if _is_directory(out):
        raise UsageRefusedError(f"--out {out}: names a directory", ["name a file in it"])
    beside = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CliError(f"cannot write {out}: {error.strerror or error}") from None
    try:
        try:
            await session.api.export(path, query, _taker(number))
            _sync(number)
        finally:
            os.close(number)
        try:
            beside.replace(out)
        except OSError as error:
            raise _TakerFailedError(error) from None
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _is_directory(path: Path) -> bool:
    return path.name in ("", "..") or path.is_dir()


def _sync(number: int) -> None:
    try:
        os.fsync(number)
    except OSError as error:
        raise _TakerFailedError(error) from None


def _taker(number: int) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(number, left) :]
            except OSError as error:
                raise _TakerFailedError(error) from None

    return take
