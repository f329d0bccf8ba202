"""The helper's word: reports of executions signed by its own receipt key, and events that wait for the agent key.

The receipt key never leaves this process (docs/protocol.md 7). A body too large for a report is replaced by what
fits: the result of a command is never lost to the size of its output.
"""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redflag_scanner_agent.durable import DurableDirectory
from redflag_scanner_agent.errors import AgentError
from redflag_scanner_agent.spool import Place, Signed, Spool
from redflag_scanner_agent.trust import HostIdentity
from redflag_wire import limits
from redflag_wire.clock import Clock
from redflag_wire.envelope import digest
from redflag_wire.errors import WireError
from redflag_wire.ids import new_id, parse_id
from redflag_wire.payload import WireModel
from redflag_wire.payload_types import PayloadType, SignerRole
from redflag_wire.report import BodyRef, CommandState, Outcome, Report, ReportKind
from redflag_wire.report_bodies import (
    Body,
    Facts,
    HostEvent,
    InstallResult,
    Inventory,
    InventoryChanges,
    Storage,
    System,
)
from redflag_wire.report_body_codec import seal_body
from redflag_wire.signing import SigningKey, sign_envelope

KEY_FILE = "receipt.key"
EVENT_GAP_S = 60.0  # seconds between two events of one code; those between are counted
EVENT_CODES_MAX = 256  # codes remembered for that
OUTPUT_CUT_CHARS = 8_192  # characters kept of each end of output when a result is too large as a whole


def load_receipt_key(directory: Path, random: Callable[[int], bytes] = secrets.token_bytes) -> SigningKey:
    """Return this helper's receipt key, made at its first start (mode 0600).

    Raises:
        AgentError: the file is damaged or the directory cannot be written.
    """
    with DurableDirectory(directory) as files:
        text = files.read(KEY_FILE)
        if text is None:
            key = SigningKey.generate(random)
            files.write(KEY_FILE, key.to_text(SignerRole.RECEIPT).encode())
            return key
    try:
        return SigningKey.from_text(text.decode("utf-8", "replace"), SignerRole.RECEIPT)
    except WireError as error:
        raise AgentError("receipt_key", f"{directory / KEY_FILE}: {error.detail}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a report says of a command.

    Attributes:
        cmd: the command.
        cmd_digest: of its payload.
        state: how far it is.
        result: with `done`.
        code: why.
        plan_digest: of the plan made or carried out.
        started: trusted time.
        finished: trusted time.
        body: sealed, empty for none.
        ref: names the sealed bytes.
    """

    cmd: str
    cmd_digest: str
    state: CommandState
    result: Outcome | None = None
    code: str | None = None
    plan_digest: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    body: bytes = b""
    ref: BodyRef | None = None


class Receipts:
    """Writes the helper's reports.

    Args:
        spool: where they wait.
        key: the receipt key.
        identity: tells who this host is.
        clock: for ids and the informational times.
        boot_id: of this boot.
    """

    def __init__(
        self,
        spool: Spool,
        key: SigningKey,
        identity: Callable[[], HostIdentity | None],
        clock: Clock,
        boot_id: str,
    ) -> None:
        self._spool = spool
        self._key = key
        self._identity = identity
        self._clock = clock
        self._boot_id = boot_id
        self._events: dict[str, tuple[float, int]] = {}  # code and subsystem -> last written, how many since

    def say(self, word: Word) -> int:
        """Sign and keep a report of a command; durable with the surrounding transaction.

        Returns:
            The report's number.

        Raises:
            AgentError: the host has no identity, or the journal cannot be written.
        """
        identity = self._identity()
        if identity is None:
            raise AgentError("not_enrolled", "a host without an identity has nothing to report")
        report_id = new_id(self._clock)

        def sign(place: Place) -> Signed:
            payload = Report(
                fleet=identity.fleet,
                agent=identity.agent,
                akt=identity.agent_key.thumbprint,
                report=report_id,
                rseq=place.rseq,
                prev=place.prev,
                at_mono=int(self._clock.monotonic() * 1000),
                boot_id=self._boot_id,
                kind=ReportKind.COMMAND,
                cmd=parse_id(word.cmd),
                cmd_digest=word.cmd_digest,
                state=word.state,
                result=word.result,
                code=word.code,
                plan_digest=word.plan_digest,
                started=word.started,
                finished=word.finished,
                at=self._clock.now(),
                body=word.ref,
            ).to_bytes()
            return Signed(sign_envelope(PayloadType.REPORT, payload, self._key).to_bytes(), digest(payload))

        return self._spool.add_receipt(str(report_id), sign, cmd=word.cmd, state=word.state, body=word.body)

    def repeat(self, word: Word) -> None:
        """Say it again unless the same word still waits to be confirmed: it will arrive anyway."""
        if not self._spool.waits(word.cmd, word.state):
            self.say(word)

    def event(self, event: HostEvent) -> None:
        """Keep an event for the network process to sign; at most one per code, subsystem and EVENT_GAP_S.

        Anybody who can send bytes can cause refusals, so their events must not fill the disk: those left out are
        counted in the next one of the code.
        """
        now = self._clock.monotonic()
        key = f"{event.code} {event.data.get('subsystem', '')}"
        last, left_out = self._events.get(key, (None, 0))
        if last is not None and now - last < EVENT_GAP_S:
            self._events[key] = (last, left_out + 1)
            return
        if left_out:
            event = event.model_copy(update={"data": {**event.data, "left_out": left_out}})
        ref, sealed = seal_body(event.to_bytes())
        self._spool.add_pending(ReportKind.EVENT, sealed, ref)
        # Only now: one that the disk refused is told when it is tried again.
        if len(self._events) >= EVENT_CODES_MAX:
            self._events.clear()
        self._events[key] = (now, 0)


def seal(body: WireModel) -> tuple[BodyRef, bytes]:
    """Pack a body for a report; output that makes a result too large is cut further.

    Raises:
        AgentError: `body_too_large`: it does not fit even so.
    """
    try:
        return seal_body(body.to_bytes())
    except WireError as error:
        if isinstance(body, InstallResult) and len(body.stdout) + len(body.stderr) > 2 * OUTPUT_CUT_CHARS:
            cut = {"stdout": _ends(body.stdout), "stderr": _ends(body.stderr)}
            return seal(body.model_copy(update=cut))
        raise AgentError("body_too_large", error.detail) from None


def report_kind(body: Body) -> ReportKind:
    """Return the kind of report a body travels in when no command asked for it."""
    if isinstance(body, Inventory | InventoryChanges):
        return ReportKind.INVENTORY
    if isinstance(body, Facts):
        return ReportKind.FACTS
    return ReportKind.METRICS if isinstance(body, System | Storage) else ReportKind.EVENT


def line(text: str) -> str:
    """Return a text as one plain line that fits a report: other signs become `?`, what is too long is cut."""
    plain = "".join(sign if sign.isprintable() and sign.isascii() else "?" for sign in " ".join(text.split()))
    return plain[: limits.LINE_MAX_BYTES]


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    handle = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(handle) as stream:
        return stream.read().strip()


def _ends(text: str) -> str:
    if len(text) <= OUTPUT_CUT_CHARS:
        return text
    half = OUTPUT_CUT_CHARS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
