"""Joining and staying: the messages of enrolment and renewal (docs/protocol.md 8.1 and 8.4).

``enroll.v1`` is signed by the token's key and by the agent key. ``enrolled.v1`` is signed by an access key and names
both public keys, so that nobody in between can put another key in their place. Renewal travels as plain JSON bodies
inside requests signed with the agent key.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from redflag_wire.fields import (
    AccessToken,
    Challenge,
    Count,
    FleetId,
    Id,
    JsonObject,
    PublicKeyText,
    SchemaVersion,
    SecretText,
    Sha256Hex,
    TokenId,
    Version,
)
from redflag_wire.payload import Payload, WireModel
from redflag_wire.payload_types import PayloadType
from redflag_wire.timestamps import Timestamp


class AgentStatus(StrEnum):
    """Whether a new host may be commanded at once."""

    ACTIVE = "active"
    PENDING = "pending"  # an operator approves it first


class EnrollRequest(Payload):
    """A host asks to join.

    Attributes:
        v: 1.
        fleet: the installation, out of the manifest the token's fingerprint vouches for.
        token_id: which token.
        challenge: the gateway's, unchanged.
        agent_pub: the agent key, base64.
        receipt_pub: the helper's receipt key, base64; another key.
        machine_id: 64 hex digits, a hash of what the machine calls itself; a hint, never a proof.
        facts: what the host is, free-form, at most 64 members.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.ENROLL

    v: SchemaVersion = 1
    fleet: FleetId
    token_id: TokenId
    challenge: Challenge
    agent_pub: PublicKeyText
    receipt_pub: PublicKeyText
    machine_id: Sha256Hex
    facts: JsonObject

    @model_validator(mode="after")
    def _two_keys(self) -> Self:
        if self.agent_pub == self.receipt_pub:
            raise ValueError("agent and receipt key are two keys")
        return self


class Enrolled(Payload):
    """The server's answer: an identity.

    Attributes:
        v: 1.
        fleet: the installation.
        token_id: the token it answers for.
        agent: the id given.
        agent_pub: the agent key it is bound to, base64.
        receipt_pub: the receipt key it is bound to, base64.
        gen: the generation of the secret; 1 at enrolment.
        access_token: a JWT.
        renewal_secret: 32 bytes in base64; confirm that it is on disk with ``ConfirmRequest``.
        status: whether commands may come at once.
        at: the server's time.
    """

    payload_type: ClassVar[PayloadType] = PayloadType.ENROLLED

    v: SchemaVersion = 1
    fleet: FleetId
    token_id: TokenId
    agent: Id
    agent_pub: PublicKeyText
    receipt_pub: PublicKeyText
    gen: Version
    access_token: AccessToken
    renewal_secret: SecretText = Field(repr=False)
    status: Annotated[AgentStatus, Field(strict=False)]
    at: Timestamp


class RenewRequest(WireModel):
    """Body of POST /renew: the machine, the generation held, and its secret in base64."""

    machine_id: Sha256Hex
    gen: Count
    secret: SecretText = Field(repr=False)


class RenewAnswer(WireModel):
    """Answer of POST /renew: a new access token, and the next generation with its secret in base64."""

    access_token: AccessToken = Field(repr=False)
    gen: Version
    secret: SecretText = Field(repr=False)


class ConfirmRequest(WireModel):
    """Body of POST /renew/confirm: the generation that is on disk now, and its secret in base64."""

    gen: Version
    secret: SecretText = Field(repr=False)


class ConfirmAnswer(WireModel):
    """Answer of POST /renew/confirm: the generation in force."""

    gen: Version
