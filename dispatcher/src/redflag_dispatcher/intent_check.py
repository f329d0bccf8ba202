"""Does a requested command lie within an intent an operator's session signed? Pure rules, no I/O.

The signer asks this for every command before it signs, so that a row written to the database by any other road
than the API's never becomes a command: the row must name an intent whose envelope an intent key of the manifest
signed, and agent, kind and parameters must be the ones the intent names (docs/protocol.md 6).

The end of a whole job is one act: an intent ``cancel_command`` whose parameters are ``{"job": <id>}`` and that has no
targets covers the cancel of any command that job made, and nothing else.

The order is the safe one: signature first, then the bytes, then the fit. That one intent is good for one command
per agent is the signer's to hold, with the database.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from redflag_dispatcher.errors import IntentRefusedError
from redflag_wire.command import LONGEST_LIFE, CommandKind
from redflag_wire.command_params import parse_params
from redflag_wire.envelope import digest, parse_envelope, verify_envelope
from redflag_wire.errors import WireError
from redflag_wire.intent import Intent, IntentVerb
from redflag_wire.keys import PublicKey
from redflag_wire.payload_types import PayloadType

CLOCK_SKEW = timedelta(minutes=5)  # what an API server's clock may run ahead of the signer's

KINDS_OF_VERB: Mapping[IntentVerb, frozenset[CommandKind]] = {
    IntentVerb.SCAN: frozenset({CommandKind.SCAN}),
    IntentVerb.COLLECT_SPECS: frozenset({CommandKind.COLLECT_SPECS}),
    IntentVerb.PLAN_UPDATES: frozenset({CommandKind.DRY_RUN_UPDATE}),
    IntentVerb.INSTALL_UPDATES: frozenset({CommandKind.INSTALL_UPDATES}),
    IntentVerb.ROLLBACK_UPDATES: frozenset({CommandKind.ROLLBACK_UPDATE}),
    IntentVerb.REBOOT: frozenset({CommandKind.REBOOT}),
    IntentVerb.ENABLE_HEARTBEAT: frozenset({CommandKind.ENABLE_HEARTBEAT}),
    IntentVerb.DISABLE_HEARTBEAT: frozenset({CommandKind.DISABLE_HEARTBEAT}),
    IntentVerb.CANCEL_COMMAND: frozenset({CommandKind.CANCEL}),
}
"""What each verb lets be commanded; a verb that is not here commands nothing. Grows with ``IntentVerb``.

Approving updates and confirming a plan are words about packages and digests: installing is a verb of its own.
"""


@dataclass(frozen=True, slots=True)
class CheckedIntent:
    """An intent whose signature held; only ``check_intent`` makes one.

    Attributes:
        intent: the payload.
        digest: sha256 of the payload bytes, as ``by.intent`` of the command carries it.
        targets: the agents it names; one bulk intent is asked for each of thousands of commands.
    """

    intent: Intent
    digest: str
    targets: frozenset[UUID]

    @property
    def of_job(self) -> bool:
        """Whether it ends a job instead of naming a command."""
        return self.intent.verb is IntentVerb.CANCEL_COMMAND and self.intent.params.keys() == {"job"}


@dataclass(frozen=True, slots=True)
class RequestedCommand:
    """What the database says is wanted, and nothing is believed about yet."""

    command: UUID
    agent: UUID
    intent: UUID | None
    kind: str
    params: Mapping[str, object]
    job: UUID | None = None  # the job that made the command a cancel names


def check_intent(envelope: bytes, keys: Iterable[PublicKey], *, fleet: str) -> CheckedIntent:
    """Verify an intent's envelope.

    Args:
        envelope: the stored bytes.
        keys: the manifest's intent keys that are good now.
        fleet: this installation.

    Raises:
        IntentRefusedError: with the wire's code, or ``intent_fleet``.
    """
    try:
        verified = verify_envelope(parse_envelope(envelope), PayloadType.INTENT, keys)
        intent = Intent.from_bytes(verified.payload)
    except WireError as error:
        raise IntentRefusedError(f"intent_{error.code}", error.detail) from None
    if str(intent.fleet) != fleet:
        raise IntentRefusedError("intent_fleet", f"signed for fleet {intent.fleet}")
    return CheckedIntent(intent, digest(verified.payload), frozenset(intent.targets))


def check_command(checked: CheckedIntent, command: RequestedCommand, *, now: datetime) -> CommandKind:
    """Hold a requested command against its intent; return its kind.

    Raises:
        IntentRefusedError: ``intent_id``, ``intent_verb``, ``intent_target``, ``intent_kind``, ``intent_params``,
            ``intent_job``, ``intent_future`` or ``intent_expired``.
    """
    intent = checked.intent
    if intent.intent != command.intent:
        raise IntentRefusedError("intent_id", f"the row names {command.intent}, the bytes {intent.intent}")
    kinds = KINDS_OF_VERB.get(intent.verb, frozenset())
    if not kinds:
        raise IntentRefusedError("intent_verb", f"{intent.verb} commands nothing")
    try:
        kind = CommandKind(command.kind)
    except ValueError:
        raise IntentRefusedError("intent_kind", "no such kind") from None
    if kind not in kinds:
        raise IntentRefusedError("intent_kind", f"{intent.verb} does not command {kind}")
    if checked.of_job:
        _check_job(checked, kind, command)
    elif command.agent not in checked.targets:
        raise IntentRefusedError("intent_target", f"agent {command.agent} is not among the targets")
    elif not _same_params(kind, intent.params, command.params):
        raise IntentRefusedError("intent_params", "the parameters are not the ones that were signed")
    if intent.at > now + CLOCK_SKEW:
        raise IntentRefusedError("intent_future", f"signed for {intent.at.isoformat()}")
    # An intent older than the longest life of what it commands would mint a command nobody waits for any more.
    if intent.at + LONGEST_LIFE[kind] <= now:
        raise IntentRefusedError("intent_expired", f"signed at {intent.at.isoformat()}")
    return kind


def _check_job(checked: CheckedIntent, kind: CommandKind, command: RequestedCommand) -> None:
    if checked.targets:
        raise IntentRefusedError("intent_target", "an intent that ends a job names no hosts")
    if command.job is None or str(command.job) != checked.intent.params["job"]:
        raise IntentRefusedError("intent_job", "the command was not made by the job that was to end")
    try:
        parse_params(kind, dict(command.params))
    except WireError as error:
        raise IntentRefusedError("intent_params", error.detail) from None


def _same_params(kind: CommandKind, signed: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    """Compare by meaning: both sides through the kind's closed schema, so defaults may be written or left out."""
    try:
        return bool(parse_params(kind, dict(signed)) == parse_params(kind, dict(asked)))
    except WireError:
        return False
