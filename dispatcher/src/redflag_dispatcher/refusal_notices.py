"""What people are told of renewals, and of refused enrolments and renewals. Pure.

The one who asks learns nothing of the reason (docs/protocol.md 8.1); operators do. Whoever knocks a thousand times
makes one event that says so: messages are constant, what differs is in the data of the last time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from redflag_store.states import Severity

COMPONENT: Final = "auth"
PEER_MAX_CHARS: Final = 64


class Reason(StrEnum):
    """Why an enrolment is refused, for operators only."""

    FOREIGN_FLEET = "foreign_fleet"
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 - a reason
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_USED_UP = "token_used_up"  # noqa: S105
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    SIGNATURE = "signature"
    KEY_KNOWN = "key_known"
    HOST_SHUT_OUT = "host_shut_out"
    CONFIRMED = "confirmed"
    MALFORMED = "malformed"
    OTHER = "other"


_WORDS: Final[Mapping[Reason, str]] = {
    Reason.FOREIGN_FLEET: "with a token of another installation",
    Reason.TOKEN_UNKNOWN: "with a token that is not known here",
    Reason.TOKEN_EXPIRED: "with a token that has expired",
    Reason.TOKEN_USED_UP: "with a token that has no seats left",
    Reason.TOKEN_REVOKED: "with a token that was revoked",
    Reason.SIGNATURE: "whose signatures do not hold",
    Reason.KEY_KNOWN: "with a key that is a host's already",
    Reason.HOST_SHUT_OUT: "of a host that is shut out",
    Reason.CONFIRMED: "of a host that is enrolled already",
    Reason.MALFORMED: "that is malformed",
    Reason.OTHER: "for another reason",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something people should know, to be written soon.

    Attributes:
        severity: how bad.
        component: which part says it.
        code: stable.
        message: constant for its code, so that repeated ones are counted together.
        data: of the last time.
    """

    severity: Severity
    component: str
    code: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


RENEWED: Final = Notice(Severity.INFO, COMPONENT, "access_renewed", "hosts renewed their access")
"""A renewal went well; an hour of them is one event with their number (`redflag_store.event_folding.REGULAR`)."""


def of_enrolment(reason: Reason, code: str, peer: str, token: str | None) -> Notice:
    """The notice of a refused enrolment.

    Args:
        reason: why.
        code: what the asker was told.
        peer: the address the gateway saw.
        token: public part of the token, where it could be read.
    """
    data: dict[str, Any] = {"peer": peer[:PEER_MAX_CHARS], "answered": code}
    if token is not None:
        data["token"] = token
    name = f"enrolment_{reason.value}"
    return Notice(Severity.WARNING, COMPONENT, name, f"an enrolment {_WORDS[reason]} was refused", data)


def of_renewal(code: str, what: str) -> Notice:
    """The notice of a refused renewal or confirmation; `code` is what the asker was told."""
    data = {"service": what, "answered": code}
    return Notice(Severity.WARNING, COMPONENT, "renewal_refused", f"a renewal was refused: {code}", data)
