"""Who may become an agent, and whose access is renewed. Pure decisions of docs/protocol.md 8.1 and 8.4.

Each takes what was read under the row's lock and says what to write. A refused enrolment never tells why: unknown,
expired, revoked and used-up tokens, and signatures that do not hold, are one answer.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from redflag_dispatcher.errors import EnrolmentRefusedError
from redflag_dispatcher.refusal_notices import Reason
from redflag_wire.base64_strict import encode
from redflag_wire.enrolment import EnrollRequest
from redflag_wire.envelope import Envelope, parse_envelope, verified_signers
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey
from redflag_wire.payload_types import PayloadType

REFUSED = "enrolment_refused"
REFUSED_DETAIL = (
    "this token does not enrol (unknown, expired, revoked or used up), or a signature does not hold"
)
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class ReadEnrolment:
    """An enrolment request as read, its signatures not yet checked: the keys to check with are named inside."""

    envelope: Envelope
    request: EnrollRequest
    agent_key: PublicKey
    receipt_key: PublicKey


def refused(reason: Reason) -> EnrolmentRefusedError:
    """Return the one refusal every failed enrolment gets; the reason is for operators."""
    return EnrolmentRefusedError(REFUSED, REFUSED_DETAIL, reason=reason)


def read_enrolment(data: bytes, *, fleet: str) -> ReadEnrolment:
    """Parse an ``enroll.v1`` envelope strictly.

    Raises:
        EnrolmentRefusedError: malformed (400), or for another fleet (the one 403).
    """
    try:
        envelope = parse_envelope(data)
        if envelope.payload_type != PayloadType.ENROLL:
            raise EnrolmentRefusedError("payload_type", "not an enrolment request", status=400)
        request = EnrollRequest.from_bytes(envelope.payload)
        agent_key = PublicKey.from_b64(request.agent_pub)
        receipt_key = PublicKey.from_b64(request.receipt_pub)
    except WireError as error:
        raise EnrolmentRefusedError(error.code, error.detail, status=400) from None
    if agent_key == receipt_key:
        raise EnrolmentRefusedError("key_reuse", "agent and receipt key are one key", status=400)
    if str(request.fleet) != fleet:
        raise refused(Reason.FOREIGN_FLEET)
    return ReadEnrolment(envelope, request, agent_key, receipt_key)


def check_signatures(read: ReadEnrolment, token_key: PublicKey) -> None:
    """Hold that both the token's key and the agent key signed: the token is known, the key is possessed.

    Raises:
        EnrolmentRefusedError: the one 403.
    """
    if token_key in (read.agent_key, read.receipt_key):
        raise refused(Reason.SIGNATURE)
    if verified_signers(read.envelope, (token_key, read.agent_key)) != {token_key, read.agent_key}:
        raise refused(Reason.SIGNATURE)


@dataclass(frozen=True, slots=True)
class Generations:
    """An agent's access generations, read under its row's lock.

    Attributes:
        confirmed: the generation in force; 0 until the first is confirmed.
        confirmed_hash: sha256 of its secret, None for generation 0.
        issued: the highest one handed out.
        issued_hash: sha256 of its secret.
        last_used_at: when a renewal last succeeded.
    """

    confirmed: int
    confirmed_hash: bytes | None
    issued: int
    issued_hash: bytes | None
    last_used_at: datetime | None = None


class RenewalStep(StrEnum):
    """What a presented generation leads to."""

    ISSUE = "issue"  # it is the one in force: hand out the next, again if it was handed out before
    CONFIRM_AND_ISSUE = "confirm_and_issue"  # the issued one was kept by the agent: that confirms it
    CONFIRM = "confirm"
    CONFIRMED_ALREADY = "confirmed_already"  # a repeated confirmation whose answer was lost
    ENDED = "ended"  # somebody presents what was replaced: a clone, or a state directory put back


def renewal_step(generations: Generations, gen: int, secret_hash: bytes) -> RenewalStep:
    """Decide on a renewal that presents generation ``gen``.

    Raises:
        EnrolmentRefusedError: 403 ``secret``: the generation was never issued, or the secret is not its own.
    """
    if gen == generations.issued and gen != generations.confirmed:
        _hold(generations.issued_hash, secret_hash)
        return RenewalStep.CONFIRM_AND_ISSUE
    if gen == generations.confirmed:
        _hold(generations.confirmed_hash, secret_hash)
        return RenewalStep.ISSUE
    if 0 < gen < generations.confirmed:
        return RenewalStep.ENDED
    raise EnrolmentRefusedError("secret", "this generation was never issued")


def confirmation_step(generations: Generations, gen: int, secret_hash: bytes) -> RenewalStep:
    """Decide on a confirmation of generation ``gen``.

    Raises:
        EnrolmentRefusedError: 403 ``secret``, as for a renewal. A secret that was issued again since is refused so
            too: the agent then renews once more with the generation it holds.
    """
    if gen == generations.confirmed:
        _hold(generations.confirmed_hash, secret_hash)
        return RenewalStep.CONFIRMED_ALREADY
    if gen == generations.issued:
        _hold(generations.issued_hash, secret_hash)
        return RenewalStep.CONFIRM
    if 0 < gen < generations.confirmed:
        return RenewalStep.ENDED
    raise EnrolmentRefusedError("secret", "this generation was never issued")


def _hold(stored: bytes | None, presented: bytes) -> None:
    if stored is None or not hmac.compare_digest(stored, presented):
        raise EnrolmentRefusedError("secret", "the secret is not the one of this generation")


def secret_text(secret: bytes) -> str:
    """Return a renewal secret's wire form."""
    return encode(secret)
