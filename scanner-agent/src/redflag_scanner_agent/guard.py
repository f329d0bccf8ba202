"""The refusal ladder: steps 1 to 10 of docs/protocol.md 5, bytes in, a decision out.

Guarantees:
1. Rules only. What is known about host, time, keys and journal comes in with `View`; nothing is changed here.
2. A command is `Accepted` only when every step let it pass, in the order of the page; the first step that does not
   is the answer.
3. Every refusal names its step and a code. `final` says whether the same bytes could ever be accepted later: if not,
   the delivery is acknowledged and forgotten; if they could (no trusted time yet), it is left with the server.
4. A refusal `about` a command was signed by a command key for this very host: it may be reported as the command's
   end. All others are worth an event at most, since anybody can cause them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Protocol
from uuid import UUID

from redflag_scanner_agent.host_policy import HostPolicy
from redflag_scanner_agent.journal import Entry
from redflag_wire.agent_version import is_below
from redflag_wire.command import LONGEST_LIFE, Command, CommandKind
from redflag_wire.command_params import (
    LOOKING_KINDS,
    DryRunUpdateParams,
    InstallUpdatesParams,
    RollbackUpdateParams,
)
from redflag_wire.envelope import Envelope, Verified, digest, parse_envelope, verify_envelope
from redflag_wire.errors import WireError
from redflag_wire.manifest import KeyManifest
from redflag_wire.manifest_chain import is_expired
from redflag_wire.payload_types import KeyUse, PayloadType

NOT_BEFORE_LEEWAY = timedelta(seconds=180)
"""How early a command may come. Trusted time is a lower bound: it lags the signer's clock by the age of the newest
beacon at its arrival, a minute in the normal case, and commands are valid from the moment they are signed."""

SUPPORTED_KINDS = frozenset(CommandKind) - {CommandKind.UPDATE_AGENT}
"""Kinds this agent knows how to act on; when you add one, give it an action in `actions` or `executor`."""

KINDS_OF_OLD_AGENTS = LOOKING_KINDS | {CommandKind.UPDATE_AGENT, CommandKind.CANCEL}
"""What an agent below the installation's minimum version still does: look, be replaced, and stop what it began."""

CHANGING_KINDS = frozenset(CommandKind) - {
    CommandKind.SCAN,
    CommandKind.COLLECT_SPECS,
    CommandKind.DRY_RUN_UPDATE,
    CommandKind.ENABLE_HEARTBEAT,
    CommandKind.DISABLE_HEARTBEAT,
    CommandKind.CANCEL,
}
"""Kinds that change the host: they stop with an expired manifest and on a host that may only look."""


class Step(IntEnum):
    """The numbered steps; the numbers are those of docs/protocol.md 5."""

    ENVELOPE = 1
    TYPE = 2
    BASE64 = 3
    KEYS = 4
    SIGNATURE = 5
    PAYLOAD = 6
    ADDRESS = 7
    KIND = 8
    TIME = 9
    JOURNAL = 10


class JournalView(Protocol):
    """What the ladder asks the journal."""

    @property
    def floor(self) -> int:
        """The highest sequence number ever forgotten."""
        ...

    def find(self, cmd: str) -> Entry | None:
        """Return what is remembered of a command."""
        ...

    def has_room(self, *, cancel: bool = False) -> bool:
        """Return whether another command may be received."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the host knows when bytes arrive.

    Attributes:
        fleet: the installation it belongs to.
        agent: its id.
        akt: thumbprint of its agent key.
        manifest: the trusted keys.
        now: trusted time, None before the first beacon.
        policy: the host's own word.
        can_change: None, or why this host may only look.
        journal: what was received before.
        spool_has_room: whether reports of another command can be kept.
        is_cancelled: whether a command was cancelled before it came.
        agent_version: of this agent.
        min_agent_version: the oldest that may change hosts, by the newest beacon; None for any.
    """

    fleet: str
    agent: UUID
    akt: str
    manifest: KeyManifest
    now: datetime | None
    policy: HostPolicy
    can_change: str | None
    journal: JournalView
    spool_has_room: Callable[[], bool]
    is_cancelled: Callable[[str], bool] = lambda _cmd: False
    agent_version: str = "0"
    min_agent_version: str | None = None


@dataclass(frozen=True, slots=True)
class About:
    """A command that is certainly meant for this host.

    Attributes:
        command: the verified payload, parsed.
        digest: of the payload bytes.
        payload: those bytes.
    """

    command: Command
    digest: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every step let it pass: write RECEIVED, then acknowledge."""

    about: About


@dataclass(frozen=True, slots=True)
class Known:
    """The journal has exactly this command: answer with what it says."""

    about: About
    entry: Entry


@dataclass(frozen=True, slots=True)
class Refused:
    """A step did not let it pass.

    Attributes:
        step: which.
        code: why; one of the step's codes.
        detail: for people.
        final: whether the same bytes are refused for ever.
        about: the command, when its end may be reported in its name.
    """

    step: Step
    code: str
    detail: str
    final: bool = True
    about: About | None = None

    @property
    def counter(self) -> str:
        """The name it is counted under: step number and code."""
        return f"{self.step.value}_{self.code}"


Decision = Accepted | Known | Refused


def judge(data: bytes, view: View) -> Decision:
    """Climb the ladder with the bytes of one envelope.

    Args:
        data: as they came from the network process; anything.
        view: the host's knowledge.
    """
    # 1, 3: size, strict envelope, strict base64. One parser does the three; its code tells them apart.
    try:
        envelope = parse_envelope(data)
    except WireError as error:
        step = Step.BASE64 if error.code == "base64" else Step.ENVELOPE
        return Refused(step, "base64" if step is Step.BASE64 else "envelope", str(error))
    # 2: only commands come on this channel.
    if envelope.payload_type != PayloadType.COMMAND.value:
        return Refused(Step.TYPE, "payload_type", f"{envelope.payload_type} on the command channel")
    # 4, 5: keys with the right use, not revoked, in time; then the signature over the decoded bytes.
    verified = _verify(envelope, view)
    if isinstance(verified, Refused):
        return verified
    # 6: the same bytes, strictly.
    try:
        command = Command.from_bytes(verified.payload)
    except WireError as error:
        return Refused(Step.PAYLOAD, "payload", str(error))
    # 7: for this installation, this host, this key of it.
    refused = _address(command, view)
    if refused is not None:
        return refused
    about = About(command, digest(verified.payload), verified.payload)
    entry = view.journal.find(str(command.cmd))
    if entry is None:
        # 8, 9 decide whether something may begin. What has begun is only answered for: a host whose policy or
        # time moved on meanwhile must not report a second, contradicting end.
        refused = _kind(about, verified, view) or _time(about, view)
        if refused is not None:
            return refused
    # 10: one cmd id, one byte string, one effect.
    return _journal(about, entry, view)


def _verify(envelope: Envelope, view: View) -> Verified | Refused:
    if view.now is None:
        return Refused(
            Step.KEYS, "time_unknown", "no beacon since the start: keys cannot be judged", final=False
        )
    keys = view.manifest.keys_for(KeyUse.COMMAND, view.now)
    if not keys:
        return Refused(Step.KEYS, "no_key", "the manifest has no command key that is valid now", final=False)
    try:
        return verify_envelope(envelope, PayloadType.COMMAND, keys)
    except WireError as error:
        return Refused(Step.SIGNATURE, "signature", str(error))


def _address(command: Command, view: View) -> Refused | None:
    if command.fleet != view.fleet:
        return Refused(Step.ADDRESS, "fleet", f"signed for fleet {command.fleet}")
    if command.agent != view.agent:
        return Refused(Step.ADDRESS, "agent", f"signed for agent {command.agent}")
    if command.akt != view.akt:
        return Refused(Step.ADDRESS, "akt", "signed for another agent key")
    return None


def _kind(about: About, verified: Verified, view: View) -> Refused | None:
    """Step 8: the key, the host's own policy, this agent's abilities, in this order."""
    kind = about.command.kind
    if not view.manifest.allows_kind(verified.key, kind):
        code, detail = "kind_key", f"the key may not sign {kind}"
    elif view.policy.fault is not None:
        code, detail = "policy_unreadable", view.policy.fault
    elif not view.policy.allows_kind(kind):
        code, detail = "kind_policy", f"this host's policy does not allow {kind}"
    elif kind not in SUPPORTED_KINDS:
        code, detail = "kind_unsupported", f"this agent does not know how to {kind}"
    elif kind not in KINDS_OF_OLD_AGENTS and is_below(view.agent_version, view.min_agent_version):
        code = "agent_too_old"
        detail = f"this agent is {view.agent_version}, the installation asks for {view.min_agent_version}"
    else:
        return _change(about, view) or _packages(about, view)
    return Refused(Step.KIND, code, detail, about=about)


def _change(about: About, view: View) -> Refused | None:
    """Step 8 for what changes the host."""
    kind = about.command.kind
    if kind is CommandKind.REBOOT and not about.command.pol.allow_reboot:
        code, detail = "reboot_not_allowed", "the command itself does not allow a restart"
    elif kind is CommandKind.REBOOT and not view.policy.allow_reboot:
        code, detail = "reboot_policy", "this host's policy does not allow a restart"
    elif kind in CHANGING_KINDS and view.can_change is not None:
        code, detail = "scan_only", view.can_change
    elif kind in CHANGING_KINDS and view.now is not None and is_expired(view.manifest, view.now):
        code, detail = "manifest_expired", "the key manifest has expired"
    else:
        return None
    return Refused(Step.KIND, code, detail, about=about)


def _packages(about: About, view: View) -> Refused | None:
    """Step 8 for the packages a command names."""
    params = about.command.typed_params
    if not isinstance(params, DryRunUpdateParams | InstallUpdatesParams | RollbackUpdateParams):
        return None
    name = view.policy.first_refused(package.name for package in params.packages)
    if name is None:
        return None
    detail = f"this host's policy does not allow {name}"
    return Refused(Step.KIND, "package_policy", detail, about=about)


def _time(about: About, view: View) -> Refused | None:
    command, now = about.command, view.now
    if now is None:
        return Refused(Step.TIME, "time_unknown", "no beacon since the start", final=False, about=about)
    if command.exp - command.iat > LONGEST_LIFE[command.kind] or command.exp < command.iat:
        return Refused(Step.TIME, "life", f"lives longer than {command.kind} may", about=about)
    if now > command.exp:
        return Refused(Step.TIME, "expired", f"expired at {command.exp.isoformat()}", about=about)
    if now < command.nbf - NOT_BEFORE_LEEWAY:
        return Refused(
            Step.TIME, "not_yet", f"valid from {command.nbf.isoformat()}", final=False, about=about
        )
    return None


def _journal(about: About, entry: Entry | None, view: View) -> Decision:
    command = about.command
    if entry is not None:
        if entry.digest != about.digest:
            # Two signed byte strings with one id: an alarm, and no word about the command the journal knows.
            return Refused(
                Step.JOURNAL, "cmd_conflict", f"command {command.cmd} came with other bytes before"
            )
        return Known(about, entry)
    if command.seq <= view.journal.floor:
        return Refused(
            Step.JOURNAL, "stale", f"seq {command.seq} is not above {view.journal.floor}", about=about
        )
    if view.is_cancelled(str(command.cmd)):
        return Refused(Step.JOURNAL, "cancelled", "it was cancelled before it came", about=about)
    if not view.journal.has_room(cancel=command.kind is CommandKind.CANCEL):
        return Refused(
            Step.JOURNAL, "journal_full", "too many commands wait on this host", final=False, about=about
        )
    if not view.spool_has_room():
        return Refused(
            Step.JOURNAL, "spool_full", "too many reports wait on this host", final=False, about=about
        )
    return Accepted(about)
