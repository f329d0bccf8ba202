"""Access tokens: verified once, then known by their digest until they end (docs/protocol.md 8.2).

Guarantees: the algorithm is fixed, header type and every required claim are checked, the key is one the manifest
gives the use ``access`` at this moment; the cache is bounded and emptied when the manifest changes.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from redflag_gateway.errors import UnauthorizedError
from redflag_wire import base64_strict
from redflag_wire.access_token import TOKEN_ALG, TOKEN_AUDIENCE, TOKEN_TYP, AccessClaims
from redflag_wire.errors import WireError
from redflag_wire.keys import PublicKey

TOKEN_MAX_BYTES = 4096
LEEWAY_S = 30  # between the clocks of dispatcher and gateway
CACHED_MAX = 1_000_000  # tokens, about 600 bytes each
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token speaks of.

    Attributes:
        agent: its id.
        key: the agent's own public key, which must have signed the request.
        thumbprint: of that key.
        generation: of the renewal secret.
        expires: seconds since the epoch.
    """

    agent: UUID
    key: PublicKey
    thumbprint: str
    generation: int
    expires: int


class Tokens:
    """Verifies access tokens.

    Args:
        fleet: this installation's id; the issuer.
        keys: the keys that may sign access tokens at a moment.
        cached_max: tokens remembered.
    """

    def __init__(
        self, fleet: str, keys: Callable[[datetime], list[PublicKey]], cached_max: int = CACHED_MAX
    ) -> None:
        self._fleet = fleet
        self._keys = keys
        self._cached_max = cached_max
        self._cache: OrderedDict[bytes, Principal] = OrderedDict()

    def __len__(self) -> int:
        """Return how many tokens are remembered."""
        return len(self._cache)

    def clear(self) -> None:
        """Forget all tokens: the keys have changed."""
        self._cache.clear()

    def verify(self, token: str, now: datetime) -> Principal:
        """Return whom the token speaks of.

        Raises:
            UnauthorizedError: ``token`` where it is not one of ours, ``token_expired`` where its time is over.
        """
        if len(token) > TOKEN_MAX_BYTES:
            raise _refused("It is too long.")
        digest = hashlib.sha256(token.encode()).digest()
        principal = self._cache.get(digest)
        if principal is None:
            principal = self._verify_new(token, now)
            self._cache[digest] = principal
            if len(self._cache) > self._cached_max:
                self._cache.popitem(last=False)
        if principal.expires <= now.timestamp():
            del self._cache[digest]
            raise UnauthorizedError("token_expired", "The access token's time is over; renew it.")
        return principal

    def _verify_new(self, token: str, now: datetime) -> Principal:
        if not _COMPACT.fullmatch(token):
            raise _refused("It has not the compact form.")
        candidates = {key.keyid: key for key in self._keys(now)}
        try:
            keyid = jws.extract_compact(token.encode()).headers().get("kid")
            key = candidates.get(str(keyid))
            if key is None:
                raise _refused("No key that may sign access tokens has its key id.")
            decoded = jwt.decode(token, _jwk(key), algorithms=[TOKEN_ALG])
            if decoded.header.get("typ") != TOKEN_TYP:
                raise _refused("It is of another type.")
            self._times(now).validate(decoded.claims)
            return _principal(AccessClaims.from_claims(decoded.claims))
        except JoseError as error:
            if error.error == "expired_token":
                raise UnauthorizedError(
                    "token_expired", "The access token's time is over; renew it."
                ) from None
            raise _refused("Its signature or claims do not hold.") from None
        except (WireError, ValueError):
            raise _refused("Its claims are not of the form they must have.") from None

    def _times(self, now: datetime) -> jwt.JWTClaimsRegistry:
        """Return what checks issuer, audience and times; the form of all claims is `AccessClaims`' business."""
        return jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._fleet},
            aud={"essential": True, "value": TOKEN_AUDIENCE},
            iat={"essential": True},
            exp={"essential": True},
        )


def _principal(claims: AccessClaims) -> Principal:
    key = claims.cnf.jwk.key
    return Principal(claims.sub, key, key.thumbprint, claims.gen, claims.exp)


def _jwk(key: PublicKey) -> OKPKey:
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": base64_strict.encode_url(key.raw)})


def _refused(detail: str) -> UnauthorizedError:
    return UnauthorizedError("token", f"The access token is refused. {detail}")
