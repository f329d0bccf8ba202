"""Events the helper tells of by itself: starts, enrolment, subsystems that could not be looked at.

An agent that its supervisor starts again and again must not fill the server with its starts: one is told per hour,
and whenever boot or version changed; those left out are counted in the next one.
"""

from datetime import datetime, timedelta

from redflag_scanner_agent.journal_file import JournalFile
from redflag_scanner_agent.receipts import Receipts, line
from redflag_wire.errors import WireError
from redflag_wire.payload import WireModel
from redflag_wire.report_bodies import HostEvent
from redflag_wire.timestamps import Timestamp

STARTS_KEY = "starts"
START_GAP = timedelta(hours=1)


class _Starts(WireModel):
    at: Timestamp
    boot_id: str
    version: str
    left_out: int


def scan_failed(subsystem: str, code: str, detail: str) -> HostEvent:
    """Return the event of a subsystem that could not be looked at while others could."""
    return HostEvent(
        code="scan_failed",
        severity="error",
        component="helper",
        message=line(f"{subsystem} could not be looked at: {detail or code}"),
        data={"subsystem": subsystem, "reason": code},
    )


def enrolled(version: str) -> HostEvent:
    """Return the event of a host that has joined."""
    return HostEvent(
        code="agent_enrolled",
        severity="info",
        component="helper",
        message="this host has joined the installation",
        data={"version": line(version)},
    )


def tell_start(file: JournalFile, receipts: Receipts, *, now: datetime, boot_id: str, version: str) -> bool:
    """Tell that the agent was started, unless that was told a short while ago; return whether it was.

    Args:
        file: keeps when it was told last.
        receipts: keeps the event.
        now: the host's wall time; a clock that goes back costs an event more, nothing else.
        boot_id: of this boot.
        version: of the agent.

    Raises:
        JournalError: the disk refused.
    """
    last = _stored(file.get(STARTS_KEY))
    same = last is not None and (last.boot_id, last.version) == (boot_id, version)
    with file.transaction():
        if last is not None and same and timedelta() <= now - last.at < START_GAP:
            file.put(STARTS_KEY, last.model_copy(update={"left_out": last.left_out + 1}).to_bytes())
            return False
        left_out = 0 if last is None else last.left_out
        file.put(STARTS_KEY, _Starts(at=now, boot_id=boot_id, version=version, left_out=0).to_bytes())
        more = f", {left_out} more times since this was told last" if left_out else ""
        receipts.event(
            HostEvent(
                code="agent_started",
                severity="warning" if left_out else "info",
                component="helper",
                message=f"the agent was started{more}",
                data={"version": line(version), "boot_id": line(boot_id), "left_out": left_out},
            )
        )
    return True


def _stored(data: bytes | None) -> _Starts | None:
    try:
        return None if data is None else _Starts.from_bytes(data)
    except WireError:
        return None
