"""The command payload (docs/protocol.md 3): closed, integers only, parameters checked against the kind's schema.

The model says what a command looks like. Whether it may act now and here (fleet, agent, key, life, journal) is the
ladder of docs/protocol.md 5 on the host, which gives each of those refusals its own code.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, JsonValue, model_validator

from redflag_wire import limits
from redflag_wire.command_params import LOOKING_KINDS, CommandKind, CommandParams, parse_params
from redflag_wire.errors import SchemaRefusedError
from redflag_wire.fields import (
    Count,
    Digest,
    FleetId,
    Id,
    Name,
    NonceText,
    SchemaVersion,
    Sha256Hex,
    Thumbprint,
    Version,
)
from redflag_wire.payload import Payload, WireModel
from redflag_wire.payload_types import PayloadType
from redflag_wire.timestamps import Timestamp

__all__ = [
    "LONGEST_LIFE",
    "Artifact",
    "By",
    "Command",
    "CommandKind",
    "HostLimits",
    "Window",
    "next_seq",
]

RUNTIME_MAX_S: Final = 86_400  # seconds; the longest `max_runtime`
SEQ_PER_MS: Final = 1_024  # sequence numbers of one agent in one millisecond

LONGEST_LIFE: Final[Mapping[CommandKind, timedelta]] = MappingProxyType(
    {
        CommandKind.SCAN: timedelta(hours=24),
        CommandKind.COLLECT_SPECS: timedelta(hours=1),
        CommandKind.DRY_RUN_UPDATE: timedelta(hours=1),
        CommandKind.INSTALL_UPDATES: timedelta(hours=12),
        CommandKind.ROLLBACK_UPDATE: timedelta(hours=12),
        CommandKind.UPDATE_AGENT: timedelta(hours=1),
        CommandKind.REBOOT: timedelta(hours=1),
        CommandKind.ENABLE_HEARTBEAT: timedelta(hours=1),
        CommandKind.DISABLE_HEARTBEAT: timedelta(hours=1),
        CommandKind.CANCEL: timedelta(hours=1),
    }
)
"""The longest ``exp - iat`` of each kind."""


class Window(WireModel):
    """When the host may act, in trusted time.

    Attributes:
        opens: the first moment.
        closes: the last one; later than ``opens``.
    """

    opens: Timestamp
    closes: Timestamp

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.closes <= self.opens:
            raise ValueError("a window closes after it opens")
        return self


class HostLimits(WireModel):
    """Limits the host enforces again, whatever the server already did.

    Attributes:
        window: when it may act; None for any time.
        allow_reboot: whether it may restart the machine.
        max_runtime: seconds the work may take, at most a day; None for the host's own limit.
    """

    window: Window | None
    allow_reboot: bool
    max_runtime: Annotated[int, Field(ge=1, le=RUNTIME_MAX_S)] | None


class By(WireModel):
    """Who wanted it, for the host's own audit line.

    Attributes:
        approvers: names of the people, at most 16; none when RedFlag itself asks.
        intent: digest of the signed intent's payload; None when RedFlag itself asks, which it may only for kinds
            that change nothing.
    """

    approvers: list[Name] = Field(max_length=limits.APPROVERS_MAX)
    intent: Digest | None


class Artifact(WireModel):
    """A file the command needs; it must also verify through TUF.

    Attributes:
        target: its TUF target name.
        version: its version.
        length: bytes.
        sha256: of its bytes, hex.
    """

    target: Name
    version: Name
    length: Count
    sha256: Sha256Hex


class Command(Payload):
    """A signed order to one host.

    Attributes:
        v: 1.
        fleet: the installation; stops replay into another one.
        agent: for whom.
        akt: thumbprint of the agent key the signer knows; stops use after a re-join.
        cmd: the identity; one id has one byte string for ever.
        op: the operation it belongs to, which is the correlation id; or None.
        wave: the wave of that operation, or None.
        seq: number per agent, see ``next_seq``.
        kind: what to do.
        params: with what; fits the schema of ``kind``.
        iat: signer's time of issue.
        nbf: not before.
        exp: not after.
        nonce: 16 random bytes in base64; makes the bytes unique, is not the replay key.
        pol: limits the host enforces again.
        by: who wanted it.
        prev: the expired, never started command this one replaces, or None.
        artifacts: files it needs, at most 16.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.COMMAND

    v: SchemaVersion
    fleet: FleetId
    agent: Id
    akt: Thumbprint
    cmd: Id
    op: Id | None
    wave: Count | None
    seq: Version
    kind: Annotated[CommandKind, Field(strict=False)]
    params: dict[str, JsonValue]
    iat: Timestamp
    nbf: Timestamp
    exp: Timestamp
    nonce: NonceText
    pol: HostLimits
    by: By
    prev: Id | None
    artifacts: list[Artifact] = Field(max_length=limits.ARTIFACTS_MAX)

    @model_validator(mode="after")
    def _params_fit(self) -> Self:
        parse_params(self.kind, self.params)
        return self

    @model_validator(mode="after")
    def _somebody_wants_it(self) -> Self:
        if self.by.intent is None and self.kind not in LOOKING_KINDS:
            raise ValueError("a command that changes something names the intent behind it")
        return self

    @property
    def typed_params(self) -> CommandParams:
        """The parameters as the model of their kind."""
        return parse_params(self.kind, self.params)


def next_seq(last: int, now_ms: int, agent_floor: int) -> int:
    """Return the next sequence number of an agent.

    Time and the floor the agent last reported push it up, so that a database restored from an older copy does not
    give numbers out twice (docs/protocol.md 3). Below 2**53 until the year 2248.

    Args:
        last: highest number ever given to this agent, 0 for none.
        now_ms: milliseconds since 1970 by the signer's clock.
        agent_floor: the floor the agent reported, 0 for none.

    Raises:
        SchemaRefusedError: ``seq_exhausted``.
    """
    seq = max(last + 1, now_ms * SEQ_PER_MS, agent_floor + 1)
    if seq >= limits.INTEGER_LIMIT:
        raise SchemaRefusedError("seq_exhausted", "sequence numbers end below 2**53")
    return seq
