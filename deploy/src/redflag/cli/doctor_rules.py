"""What `redflag doctor` makes of what it finds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from redflag.cli.words import ago, duration, parse_time, size
from redflag_ops.tls import WARN_BEFORE

CLOCK_ATTENTION_S: Final = 5.0  # answers carry whole seconds, and travel
CLOCK_FAILED_S: Final = 60.0  # signed requests with another time are refused, docs/protocol.md 8.3
SEEN_ATTENTION_S: Final = 15 * 60.0  # three times the usual five minutes between polls
DISK_ATTENTION: Final = 0.10  # free, of the whole
DISK_FAILED_BYTES: Final = 256 * 1024 * 1024  # PostgreSQL and the broker stop near nothing
_NAMED_MAX: Final = 5


class Verdict(StrEnum):
    """How a thing is."""

    OK = "ok"
    ATTENTION = "attention"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        what: was looked at.
        verdict: how it is.
        detail: what was found.
        advice: what to do; empty when there is nothing to do.
    """

    what: str
    verdict: Verdict
    detail: str
    advice: str = ""


def judge_clock(server: datetime, here: datetime) -> Finding:
    """Compare this machine's clock with the server's."""
    difference = abs((server - here).total_seconds())
    if difference < CLOCK_ATTENTION_S:
        return Finding("clock", Verdict.OK, f"within {CLOCK_ATTENTION_S:g} s of the server's")
    verdict = Verdict.FAILED if difference > CLOCK_FAILED_S else Verdict.ATTENTION
    side = "behind" if here < server else "ahead of"
    return Finding(
        "clock",
        verdict,
        f"{duration(difference)} {side} the server's",
        "set the time on both machines from the same source (chrony, systemd-timesyncd)",
    )


def judge_disk(what: str, free: int, total: int) -> Finding:
    """Judge a file system's free space, in bytes."""
    detail = f"{size(free)} of {size(total)} free"
    if free < DISK_FAILED_BYTES:
        return Finding(what, Verdict.FAILED, detail, "make room: the database stops when the disk is full")
    if total and free / total < DISK_ATTENTION:
        return Finding(what, Verdict.ATTENTION, detail, "make room soon")
    return Finding(what, Verdict.OK, detail)


def judge_agents(hosts: Sequence[Mapping[str, Any]], now: datetime) -> Finding:
    """Judge when active hosts were seen last."""
    active = [one for one in hosts if one.get("state") == "active"]
    if not active:
        return Finding("agents", Verdict.ATTENTION, "no active host", "let one in: redflag tokens create")
    away = [one for one in active if not _seen_lately(one, now)]
    if not away:
        return Finding("agents", Verdict.OK, f"{len(active)} active, all seen lately")
    named = ", ".join(
        f"{one.get('hostname')} ({ago(one.get('last_seen_at'), now)})" for one in away[:_NAMED_MAX]
    )
    more = f" and {len(away) - _NAMED_MAX} more" if len(away) > _NAMED_MAX else ""
    return Finding(
        "agents",
        Verdict.FAILED if len(away) == len(active) else Verdict.ATTENTION,
        f"{len(away)} of {len(active)} active not seen lately: {named}{more}",
        "look on those hosts: redflag-agent status",
    )


def _seen_lately(host: Mapping[str, Any], now: datetime) -> bool:
    seen = parse_time(host.get("last_seen_at"))
    return seen is not None and (now - seen).total_seconds() <= SEEN_ATTENTION_S


def judge_key_file(mode: int) -> Finding:
    """Judge who may read the file of the API key, by its mode."""
    if mode & 0o077:
        return Finding("key file", Verdict.ATTENTION, "others may read it", "chmod 600 it")
    return Finding("key file", Verdict.OK, "for its owner only")


def read_gauge(metrics: str, name: str) -> float | None:
    """Return a gauge without labels out of a program's metrics; None where it is not there."""
    for line in metrics.splitlines():
        given, _, value = line.partition(" ")
        if given == name:
            try:
                return float(value)
            except ValueError:
                return None
    return None


def judge_certificate(what: str, ends: datetime, now: datetime, *, new_one_refused: bool) -> Finding:
    """Judge the certificate a program serves.

    Args:
        what: the finding's name.
        ends: the end of what is served.
        now: the time.
        new_one_refused: whether the files hold a pair that cannot be served.
    """
    left = ends - now
    if left <= timedelta():
        detail, verdict = f"expired on {ends:%Y-%m-%d %H:%M} UTC: no host connects", Verdict.FAILED
    else:
        detail = f"ends on {ends:%Y-%m-%d}, in {duration(left.total_seconds())}"
        verdict = Verdict.ATTENTION if left < WARN_BEFORE or new_one_refused else Verdict.OK
    if new_one_refused:
        return Finding(
            what,
            verdict,
            f"{detail}; the files hold a pair that cannot be served",
            "the program's log says why",
        )
    advice = "" if verdict is Verdict.OK else "renew it and replace the two files; nothing need be restarted"
    return Finding(what, verdict, detail, advice)


def is_well(findings: Sequence[Finding]) -> bool:
    """Tell whether nothing failed."""
    return all(one.verdict is not Verdict.FAILED for one in findings)
