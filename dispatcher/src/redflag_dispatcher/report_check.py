"""The refusal ladder of a report, from the frame to the opened body. Pure, and safe to run in a thread.

A ``CheckedReport`` is made here only: the envelope was signed by a key of the very agent whose connection brought
it, the payload is a valid report of this fleet and agent, and the body is the one the signature names. What a
report says about a command, and where it stands in its agent's chain, is decided later.

The rungs (docs/protocol.md 6), cheapest and safest first, each with its own code:
1 frame -> 2 envelope -> 3 agent known -> 4 signature -> 5 payload -> 6 fleet -> 7 agent -> 8 akt -> 9 key fits the
kind -> 10 the body is the signed one. One that is, but cannot be opened within its bounds, is the host's own fault:
the report is taken without it and says so.
"""

from dataclasses import dataclass
from uuid import UUID

from redflag_dispatcher.errors import ReportRefusedError
from redflag_wire.envelope import digest, parse_envelope, verify_envelope
from redflag_wire.errors import BodyRefusedError, WireError
from redflag_wire.keys import PublicKey
from redflag_wire.payload_types import PayloadType
from redflag_wire.report import Report, ReportKind
from redflag_wire.report_body_codec import open_body
from redflag_wire.report_framing import split_reports

_NOT_THE_SIGNED_BODY = frozenset({"length", "digest"})  # spoilt on the way: the host sends it again


@dataclass(frozen=True, slots=True)
class AgentKeys:
    """The public keys an agent enrolled with.

    Attributes:
        agent: its id.
        agent_key: signs everything that is no execution.
        receipt_key: the helper's; signs executions.
    """

    agent: UUID
    agent_key: PublicKey
    receipt_key: PublicKey


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """A report that passed every rung.

    Attributes:
        report: the payload.
        digest: sha256 of the payload bytes; what the next report's ``prev`` names.
        envelope: the bytes as they came.
        sealed: the compressed body as it came, empty for none.
        body: the body opened, None for none.
        body_fault: why a body that is the signed one cannot be opened: the host's own fault, so sending it again
            would not help; the report counts without it.
    """

    report: Report
    digest: str
    envelope: bytes
    sealed: bytes
    body: bytes | None
    body_fault: str | None

    @property
    def by_receipt_key(self) -> bool:
        """Whether the helper's key signed it; each key has a ``prev`` chain of its own."""
        return self.report.kind is ReportKind.COMMAND


def split_frame(data: bytes) -> tuple[bytes, bytes]:
    """Take the one report out of a broker message (rung 1).

    Raises:
        ReportRefusedError: ``frame``.
    """
    try:
        framed = split_reports(data)
    except WireError as error:
        raise ReportRefusedError("frame", error.detail) from None
    if len(framed) != 1:
        raise ReportRefusedError("frame", f"{len(framed)} reports in one message")
    return framed[0]


def check_report(data: bytes, keys: AgentKeys | None, *, fleet: str) -> CheckedReport:
    """Climb the ladder with one message of ``rf.up.report.<n>``.

    Args:
        data: one frame.
        keys: the keys of the agent the gateway authenticated (header ``RF-Agent``); None when there is none such.
        fleet: this installation.

    Raises:
        ReportRefusedError: the code names the rung.
    """
    envelope_bytes, sealed = split_frame(data)
    try:
        envelope = parse_envelope(envelope_bytes)
    except WireError as error:
        raise ReportRefusedError("envelope", error.detail) from None
    if keys is None:
        raise ReportRefusedError("agent_unknown", "no agent with this id is enrolled")
    try:
        verified = verify_envelope(envelope, PayloadType.REPORT, (keys.receipt_key, keys.agent_key))
    except WireError as error:
        raise ReportRefusedError("signature", error.detail) from None
    try:
        report = Report.from_bytes(verified.payload)
    except WireError as error:
        raise ReportRefusedError("schema", error.detail) from None
    if str(report.fleet) != fleet:
        raise ReportRefusedError("fleet", f"signed for fleet {report.fleet}")
    if report.agent != keys.agent:
        raise ReportRefusedError("agent", f"signed for agent {report.agent}")
    if report.akt != keys.agent_key.thumbprint:
        raise ReportRefusedError("akt", "signed beside another agent key")
    wanted = keys.receipt_key if report.kind is ReportKind.COMMAND else keys.agent_key
    if verified.key != wanted:
        raise ReportRefusedError("key_use", f"reports of the kind {report.kind} are not signed with this key")
    body, fault = _open(report, sealed)
    return CheckedReport(
        report=report,
        digest=digest(verified.payload),
        envelope=envelope_bytes,
        sealed=sealed,
        body=body,
        body_fault=fault,
    )


def _open(report: Report, sealed: bytes) -> tuple[bytes | None, str | None]:
    if report.body is None:
        if sealed:
            raise ReportRefusedError("body", "a body came with a report that names none")
        return None, None
    try:
        return open_body(sealed, report.body), None
    except BodyRefusedError as error:
        if error.code in _NOT_THE_SIGNED_BODY:
            raise ReportRefusedError("body", error.detail) from None
        return None, f"{error.code}: {error.detail}"
