"""The closed lists of message kinds and signer roles, and which role may sign which kind (docs/protocol.md 2).

A role signs exactly one kind: a signature made for one purpose can never be taken for another. When you add a kind:
give it a signer in ``SIGNED_BY``, a payload model with that ``payload_type``, and a row in docs/protocol.md 2.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class PayloadType(StrEnum):
    """The media type inside the signed bytes."""

    COMMAND = "application/vnd.redflag.command.v1+json"
    INTENT = "application/vnd.redflag.intent.v1+json"
    KEYS = "application/vnd.redflag.keys.v1+json"
    BEACON = "application/vnd.redflag.beacon.v1+json"
    ENROLL = "application/vnd.redflag.enroll.v1+json"
    ENROLLED = "application/vnd.redflag.enrolled.v1+json"
    REPORT = "application/vnd.redflag.report.v1+json"


class KeyUse(StrEnum):
    """The one use of a key that stands in the manifest (docs/protocol.md 4)."""

    COMMAND = "command"
    BEACON = "beacon"
    ACCESS = "access"
    PACKAGE = "package"
    INTENT = "intent"


class SignerRole(StrEnum):
    """Everyone who holds a key: the manifest's uses, and the keys that stand elsewhere."""

    COMMAND = "command"
    BEACON = "beacon"
    ACCESS = "access"
    PACKAGE = "package"
    INTENT = "intent"
    ROOT = "root"
    TOKEN = "token"  # noqa: S105 - a role's name
    AGENT = "agent"
    RECEIPT = "receipt"


SIGNED_BY: Final[Mapping[PayloadType, frozenset[SignerRole]]] = MappingProxyType(
    {
        PayloadType.COMMAND: frozenset({SignerRole.COMMAND}),
        PayloadType.INTENT: frozenset({SignerRole.INTENT}),
        PayloadType.KEYS: frozenset({SignerRole.ROOT}),
        PayloadType.BEACON: frozenset({SignerRole.BEACON}),
        # Both at once: the token proves the right to join, the agent key proves its possession.
        PayloadType.ENROLL: frozenset({SignerRole.TOKEN, SignerRole.AGENT}),
        PayloadType.ENROLLED: frozenset({SignerRole.ACCESS}),
        # Either: the receipt key for reports of commands, the agent key for all others.
        PayloadType.REPORT: frozenset({SignerRole.AGENT, SignerRole.RECEIPT}),
    }
)
"""Who may sign what; package keys sign nothing on this wire (they sign TUF metadata)."""
