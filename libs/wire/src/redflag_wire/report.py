"""The report payload (docs/protocol.md 6): what a host says, in a numbered chain that shows gaps and forks.

``prev`` is the digest of the payload bytes of the previous report signed by the same key, None for that key's first.
The body travels compressed beside the envelope; ``body`` names its bytes, so the signature covers it.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from redflag_wire import limits
from redflag_wire.fields import (
    Code,
    Count,
    Digest,
    FleetId,
    Id,
    Name,
    SchemaVersion,
    Sha256Hex,
    Thumbprint,
    Version,
)
from redflag_wire.payload import Payload, WireModel
from redflag_wire.payload_types import PayloadType
from redflag_wire.timestamps import Timestamp


class ReportKind(StrEnum):
    """What a report is about. ``command`` is signed by the receipt key, all others by the agent key."""

    COMMAND = "command"
    INVENTORY = "inventory"
    FACTS = "facts"
    METRICS = "metrics"
    EVENT = "event"


class CommandState(StrEnum):
    """The journal's only states."""

    RECEIVED = "received"
    STARTED = "started"
    DONE = "done"


class Outcome(StrEnum):
    """The result of a command's work, apart from its state."""

    SUCCEEDED = "succeeded"
    SUCCEEDED_PENDING_REBOOT = "succeeded_pending_reboot"
    PARTIAL = "partial"
    FAILED = "failed"
    PLAN_DRIFT = "plan_drift"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class BodyRef(WireModel):
    """Which bytes belong to a report.

    Attributes:
        sha256: hex, over the bytes as they travel, so that they are checked before they are opened.
        length: how many they are, at most 1 MiB.
        encoding: how they are packed.
    """

    sha256: Sha256Hex
    length: Annotated[int, Field(ge=1, le=limits.BODY_MAX_COMPRESSED)]
    encoding: Literal["gzip", "identity"]


class Report(Payload):
    """One signed word of a host.

    Attributes:
        v: 1.
        fleet: the installation.
        agent: the host's id.
        akt: thumbprint of a key of the host, as docs/protocol.md 6 says.
        report: its identity; the same id is the same bytes.
        rseq: counts the host's reports over both keys, without gaps, from 1.
        prev: digest of the previous report of this key, or None.
        at_mono: the host's monotonic clock, milliseconds.
        boot_id: which boot of the machine that clock belongs to.
        kind: what it is about.
        cmd: the command, for kind ``command`` and for events about one.
        cmd_digest: digest of the command's payload.
        state: how far the command is; for kind ``command`` only.
        result: with ``done`` and never else.
        code: the refusal's code when the result is ``rejected``; may name the cause of another.
        plan_digest: the plan made or carried out.
        started: trusted time the work began.
        finished: trusted time it ended.
        at: the host's wall time, for people; nothing is decided by it.
        body: the bytes that travel beside the envelope, or None.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.REPORT

    v: SchemaVersion = 1
    fleet: FleetId
    agent: Id
    akt: Thumbprint
    report: Id
    rseq: Version
    prev: Digest | None
    at_mono: Count
    boot_id: Name
    kind: Annotated[ReportKind, Field(strict=False)]
    cmd: Id | None = None
    cmd_digest: Digest | None = None
    state: Annotated[CommandState, Field(strict=False)] | None = None
    result: Annotated[Outcome, Field(strict=False)] | None = None
    code: Code | None = None
    plan_digest: Digest | None = None
    started: Timestamp | None = None
    finished: Timestamp | None = None
    at: Timestamp
    body: BodyRef | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cmd is None) != (self.cmd_digest is None):
            raise ValueError("cmd and cmd_digest go together")
        if (self.kind is ReportKind.COMMAND) != (self.state is not None):
            raise ValueError("a report of a command, and no other, has a state")
        if self.kind is ReportKind.COMMAND and self.cmd is None:
            raise ValueError("a report of a command names it")
        if (self.state is CommandState.DONE) != (self.result is not None):
            raise ValueError("a result comes with done and never else")
        return self
