"""What follows from the broker's answer to a publish. Pure.

A ``duplicate`` says that the id was seen within the window, not that the message is there: it may have been taken
off the queue, or lost with the store. It is looked up, and published again under the next number when it is not
there; the host's journal answers a command it knows (ARCHITECTURE.md 2).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from redflag_dispatcher.errors import PublishError

MAX_PER_SUBJECT = 10077  # JetStream: the agent's queue is full
FULL_QUEUE_WAIT_S = 15.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
SHORTEST_LIFE_S = 1.0  # a TTL below a second is an error: such a command counts as expired


@dataclass(frozen=True, slots=True)
class PubAck:
    """The broker has the message.

    Attributes:
        stream: which stream took it.
        seq: where in it; for a duplicate, where the first one went.
        duplicate: the id was seen within the window. No proof that the message is still there.
    """

    stream: str
    seq: int
    duplicate: bool


class Verdict(StrEnum):
    """What to do with the outbox row."""

    PUBLISHED = "published"
    LOOK_UP = "look_up"
    FULL = "full"
    AGAIN = "again"


def parse_answer(data: bytes, headers: Mapping[str, str] | None) -> PubAck | PublishError:
    """Read one answer to a publish."""
    status = (headers or {}).get("Status")
    if status is not None:
        return PublishError(0, "no stream takes this subject" if status == "503" else f"status {status}")
    try:
        answer = json.loads(data)
        if "error" in answer:
            fault = answer["error"]
            return PublishError(int(fault.get("err_code", 0)), str(fault.get("description", ""))[:200])
        return PubAck(str(answer["stream"]), int(answer["seq"]), bool(answer.get("duplicate", False)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return PublishError(0, "an answer that is no PubAck")


def judge(answer: PubAck | PublishError) -> Verdict:
    """Return what the answer means."""
    if isinstance(answer, PubAck):
        return Verdict.LOOK_UP if answer.duplicate else Verdict.PUBLISHED
    return Verdict.FULL if answer.code == MAX_PER_SUBJECT else Verdict.AGAIN


def next_try(verdict: Verdict, attempts: int, now: datetime, jitter: float) -> datetime:
    """Return when to try again.

    Args:
        verdict: ``FULL`` waits for the host to take something; anything else doubles its wait up to a minute.
        attempts: how often it was tried before.
        now: the server's clock.
        jitter: 0 to 1, at random: waits lie between half and the whole of their bound.
    """
    bound = FULL_QUEUE_WAIT_S if verdict is Verdict.FULL else FIRST_WAIT_S * 2 ** min(attempts, 16)
    return now + timedelta(seconds=min(bound, LONGEST_WAIT_S) * (0.5 + jitter / 2))


def ttl_s(exp: datetime, now: datetime) -> int:
    """Return the remaining life in whole seconds, as the ``Nats-TTL`` header wants it; at least 1."""
    return max(1, int((exp - now).total_seconds()))


def message_id(command_hex: str, n: int) -> str:
    """Return the id the broker tells repeats by."""
    return f"{command_hex}:{n}"
