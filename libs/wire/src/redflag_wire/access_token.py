"""What an access token says (docs/protocol.md 8.2). Dispatcher and gateway mint and verify the JWT.

``alg`` and ``typ`` are fixed: a token that names any other is refused before its signature is looked at.
"""

from datetime import timedelta
from typing import Final, Literal, Self

from pydantic import ValidationError, model_validator

from redflag_wire import base64_strict
from redflag_wire.errors import Base64RefusedError, KeyRefusedError, TokenRefusedError
from redflag_wire.fields import Count, FleetId, Id, Name
from redflag_wire.keys import PublicKey
from redflag_wire.payload import WireModel, schema_refused

TOKEN_TYP: Final = "rf-agent+jwt"  # noqa: S105 - a type's name
TOKEN_ALG: Final = "Ed25519"  # noqa: S105 - RFC 9864
TOKEN_AUDIENCE: Final = "rf-gateway"  # noqa: S105 - an audience's name
LONGEST_LIFE: Final = timedelta(hours=24)


class Jwk(WireModel):
    """The agent's public key as a JWK (RFC 8037)."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    x: str

    @model_validator(mode="after")
    def _loads(self) -> Self:
        try:
            _ = self.key
        except (KeyRefusedError, Base64RefusedError) as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def key(self) -> PublicKey:
        """The key itself."""
        return PublicKey(base64_strict.decode_url(self.x))

    @classmethod
    def of(cls, key: PublicKey) -> "Jwk":
        """Return the JWK of a key."""
        return cls(x=base64_strict.encode_url(key.raw))


class Confirmation(WireModel):
    """The ``cnf`` claim (RFC 7800): the key the token is bound to."""

    jwk: Jwk


class AccessClaims(WireModel):
    """The claims, all required.

    Attributes:
        iss: the fleet.
        aud: ``rf-gateway``.
        sub: the agent.
        cnf: the agent key; a request under this token must be signed by it.
        gen: generation of the renewal secret it was issued with.
        jti: unique.
        iat: seconds since 1970.
        exp: seconds since 1970; at most 24 h after ``iat``.
    """

    iss: FleetId
    aud: Literal["rf-gateway"]
    sub: Id
    cnf: Confirmation
    gen: Count
    jti: Name
    iat: Count
    exp: Count

    @model_validator(mode="after")
    def _life(self) -> Self:
        if not 0 < self.exp - self.iat <= LONGEST_LIFE.total_seconds():
            raise ValueError("a token lives at most 24 hours")
        return self

    @classmethod
    def from_claims(cls, claims: object) -> Self:
        """Return the claims of a token whose signature was verified.

        Raises:
            TokenRefusedError: ``claims``.
        """
        try:
            return cls.model_validate(claims)
        except ValidationError as error:
            raise TokenRefusedError("claims", schema_refused(error).detail) from None
