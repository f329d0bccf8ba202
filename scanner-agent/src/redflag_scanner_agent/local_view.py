"""`scan`, `list-updates` and `status`: what can be known on the host itself, without a server or an enrolment."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redflag_scanner_agent import facts, fast_mode, looks
from redflag_scanner_agent.contact import contact_lines, read_contact
from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.errors import AgentError, StateNotPermittedError
from redflag_scanner_agent.helper import JOURNAL
from redflag_scanner_agent.identity import IdentityStore
from redflag_scanner_agent.packages.errors import PackageManagerError
from redflag_scanner_agent.packages.registry import available_managers
from redflag_scanner_agent.settings import AgentSettings
from redflag_wire.report_bodies import Inventory
from redflag_wire.timestamps import format_timestamp

_LOOKS_MAX = 64  # shown
_COLUMNS = ("manager", "package", "arch", "installed", "candidate", "state", "security")


async def inventories(settings: AgentSettings, *, refresh: bool) -> list[Inventory]:
    """Return what the package managers of this host see.

    Raises:
        PackageManagerError: there is none, or one cannot be asked.
    """
    with _work_dir(settings) as work_dir:
        managers = available_managers(apt_config=settings.apt_config, work_dir=work_dir, can_install=False)
        if not managers:
            raise PackageManagerError(
                "no package manager known to the agent is on this host", code="no_manager"
            )
        return [await managers[name].scan(refresh=refresh) for name in sorted(managers)]


@contextmanager
def _work_dir(settings: AgentSettings) -> Iterator[Path]:
    own = settings.helper_dir / "packages"
    if os.access(own, os.W_OK | os.X_OK):  # False as well where it may not even be looked for
        yield own
        return
    with tempfile.TemporaryDirectory(prefix="redflag-agent-") as made:
        yield Path(made)


def updates_text(found: Sequence[Inventory]) -> str:
    """Return the updates as a table for people."""
    rows = [
        (
            update.manager,
            update.name,
            update.arch,
            update.installed or "-",
            update.candidate,
            update.state,
            "yes" if update.security else "",
        )
        for inventory in found
        for update in inventory.updates
    ]
    lines = table(_COLUMNS, rows) if rows else []
    count = sum(1 for row in rows if row[5] == "available")
    lines.append(f"{count} updates available, {len(rows) - count} held, kept back or phased")
    lines += [f"problem: {problem}" for inventory in found for problem in inventory.problems]
    if any(inventory.reboot_required for inventory in found):
        lines.append("this host waits for a restart")
    return "\n".join(lines)


def updates_json(found: Sequence[Inventory]) -> str:
    """Return the inventories as one JSON document."""
    return json.dumps({"inventories": [one.model_dump(mode="json") for one in found]}, indent=2)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns."""
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]


def status(settings: AgentSettings) -> dict[str, Any]:
    """Return what the state directory says; `enrolled` is None where it may not be read.

    Raises:
        AgentError: the identity is damaged.
    """
    found: dict[str, Any] = {
        "version": facts.agent_version(),
        "state_dir": str(settings.state_dir),
        "enrolled": None,
        "agent": None,
        "server": None,
        "fleet": None,
        "unconfirmed_reports": None,
        "open_commands": None,
        "last_command": None,
        "fast_mode": None,
        "last_looks": None,
        "contact": None,
    }
    try:
        if not settings.net_dir.exists():
            return found | {"enrolled": False}
        with DurableDirectory(settings.net_dir) as files:
            identity = IdentityStore(files).load()
            found["contact"] = read_contact(files) or None
    except (PermissionError, StateNotPermittedError):
        return found  # another account's: what stands in it is not this one's to know
    found["enrolled"] = identity is not None
    if identity is not None:
        found |= {"agent": str(identity.agent), "server": identity.server, "fleet": identity.fleet}
    return found | _journal(settings.helper_dir / JOURNAL)


def _journal(path: Path) -> dict[str, Any]:
    if not os.access(path, os.R_OK):
        return {}
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
        try:
            (reports,) = db.execute("SELECT count(*) FROM report").fetchone()
            (waiting,) = db.execute("SELECT count(*) FROM command WHERE state <> 'done'").fetchone()
            last = db.execute(
                "SELECT cmd, kind, state, result FROM command ORDER BY seq DESC LIMIT 1"
            ).fetchone()
            fast = db.execute("SELECT value FROM meta WHERE key = ?", (fast_mode.KEY,)).fetchone()
            seen = db.execute(
                "SELECT key, value FROM meta WHERE key LIKE ? ORDER BY key LIMIT ?",
                (looks.PREFIX + "%", _LOOKS_MAX),
            ).fetchall()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise AgentError("journal_read", f"cannot read {path}: {error}") from None
    names = ("cmd", "kind", "state", "result")
    return {
        "unconfirmed_reports": reports,
        "open_commands": waiting,
        "last_command": None if last is None else dict(zip(names, last, strict=True)),
        "fast_mode": _fast(fast_mode.parse(None if fast is None else fast[0])),
        "last_looks": {key.removeprefix(looks.PREFIX): looks.parse(value) for key, value in seen},
    }


def _fast(state: fast_mode.FastState) -> dict[str, Any]:
    """Say what was asked for last; whether it has ended is the helper's to know, by trusted time."""
    until = None if state.until is None else format_timestamp(state.until)
    return {"asked": state.forever or until is not None, "until": until}


def status_text(found: dict[str, Any]) -> str:
    """Return the status for people."""
    enrolled = {
        True: "yes",
        False: "no",
        None: f"not known: {found['state_dir']} belongs to another account; run this as root or as that account",
    }[found["enrolled"]]
    lines = [f"agent version     {found['version']}", f"enrolled          {enrolled}"]
    for name, label in (("agent", "agent id"), ("server", "server"), ("fleet", "fleet")):
        if found[name] is not None:
            lines.append(f"{label:<17} {found[name]}")
    lines += contact_lines(found["contact"] or {})
    if found["open_commands"] is not None:
        lines.append(f"open commands     {found['open_commands']}")
        lines.append(f"unsent reports    {found['unconfirmed_reports']}")
    last = found["last_command"]
    if last is not None:
        lines.append(f"last command      {last['kind']} {last['result'] or last['state']} ({last['cmd']})")
    fast = found["fast_mode"]
    if fast is not None:
        until = "until stopped" if fast["until"] is None else f"until {fast['until']}"
        lines.append(f"fast mode         {until if fast['asked'] else 'off'}")
    for subsystem, look in (found["last_looks"] or {}).items():
        outcome = "" if look["code"] is None else f", failed: {look['code']}"
        lines.append(f"last look         {subsystem} {look['at'] or 'at an unknown time'}{outcome}")
    return "\n".join(lines)
