"""Mints access tokens: short JWTs bound to the agent's own key (docs/protocol.md 8.2)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.jwk import OKPKey

from redflag_wire import base64_strict
from redflag_wire.access_token import TOKEN_ALG, TOKEN_AUDIENCE, TOKEN_TYP, AccessClaims, Confirmation, Jwk
from redflag_wire.keys import PublicKey
from redflag_wire.signing import SigningKey


class AccessTokens:
    """Mints with the access key.

    Args:
        key: the access key.
        fleet: the issuer.
        life: of a token; at most 24 hours.
        new_id: makes token ids.
    """

    def __init__(self, key: SigningKey, *, fleet: str, life: timedelta, new_id: Callable[[], UUID]) -> None:
        self._key = OKPKey.import_key(
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": base64_strict.encode_url(key.public.raw),
                "d": base64_strict.encode_url(key.seed),
            }
        )
        self._keyid = key.public.keyid
        self._fleet = fleet
        self._life = life
        self._new_id = new_id

    def mint(self, agent: UUID, agent_key: PublicKey, gen: int, now: datetime) -> str:
        """Return a token for an agent, bound to its key and to the generation it renewed with."""
        issued = int(now.timestamp())
        claims = AccessClaims(
            iss=self._fleet,
            aud=TOKEN_AUDIENCE,
            sub=agent,
            cnf=Confirmation(jwk=Jwk.of(agent_key)),
            gen=gen,
            jti=str(self._new_id()),
            iat=issued,
            exp=issued + int(self._life.total_seconds()),
        )
        header = {"alg": TOKEN_ALG, "typ": TOKEN_TYP, "kid": self._keyid}
        return jwt.encode(header, claims.model_dump(mode="json"), self._key, algorithms=[TOKEN_ALG])
