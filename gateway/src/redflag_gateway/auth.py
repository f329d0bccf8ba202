"""Who asks: the ladder every signed request climbs (docs/protocol.md 8.2 and 8.3).

Cheapest and safest check first, each refusal with its own code. 1 all headers there, each once -> 2 server nonce of
this or the previous bucket -> 3 access token, cached by digest -> 4 agent not shut out -> (the body is read, bounded)
-> 5 body fits its digest -> 6 exact signature profile, under the token's key -> 7 signature nonce new.

Guarantees: nothing is parsed out of a body before 7; there is no fallback for an unsigned or partly signed request.
A request of an unknown agent is refused before its body is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from redflag_gateway.errors import ForbiddenError, UnauthorizedError
from redflag_gateway.nonces import SeenNonces, ServerNonces
from redflag_gateway.status import ShutOut
from redflag_gateway.tokens import Principal, Tokens
from redflag_wire.errors import RequestRefusedError
from redflag_wire.http_signature import (
    RequestParts,
    SignatureParams,
    Tag,
    check_content_digest,
    parse_signature,
    verify_request,
)

HEADER_NONCE = "RF-Nonce"
_BEARER = "Bearer "


class Headers(Protocol):
    """Header fields, of which one name may come several times."""

    def getall(self, name: str, default: list[str]) -> list[str]:
        """Return all values of a name."""
        ...


@dataclass(frozen=True, slots=True)
class SignedParts:
    """The parts of a request its signature covers, and the signature; nothing of it is verified."""

    parts: RequestParts
    signature_input: str
    signature: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that passed steps 1 to 4; its body has still to fit."""

    signed: SignedParts
    principal: Principal


def read_signed_parts(method: str, target_uri: str, headers: Headers, *, with_token: bool) -> SignedParts:
    """Step 1: take the covered parts out of a request.

    Args:
        method: upper case.
        target_uri: the configured origin with path and query as they came.
        headers: of the request.
        with_token: whether the profile covers ``authorization``.

    Raises:
        UnauthorizedError: ``unsigned`` where one is missing, ``header_twice`` where one comes twice.
    """
    found: dict[str, str] = {}
    names = ["Signature-Input", "Signature", "Content-Digest", "Content-Type", HEADER_NONCE]
    for name in [*names, "Authorization"] if with_token else names:
        values = headers.getall(name, [])
        if len(values) > 1:
            raise UnauthorizedError("header_twice", "A header of the signature comes twice.")
        if not values:
            raise UnauthorizedError("unsigned", "The request is not signed, or only in part.")
        found[name] = values[0]
    parts = RequestParts(
        method=method,
        target_uri=target_uri,
        content_type=found["Content-Type"],
        content_digest=found["Content-Digest"],
        rf_nonce=found[HEADER_NONCE],
        authorization=found.get("Authorization"),
    )
    return SignedParts(parts, found["Signature-Input"], found["Signature"])


class Authenticator:
    """Decides who asks.

    Args:
        nonces: makes and checks server nonces.
        seen: remembers signature nonces.
        tokens: verifies access tokens.
        shut_out: agents that may not come in.
    """

    def __init__(self, nonces: ServerNonces, seen: SeenNonces, tokens: Tokens, shut_out: ShutOut) -> None:
        self._nonces = nonces
        self._seen = seen
        self._tokens = tokens
        self._shut_out = shut_out

    def begin(self, signed: SignedParts, now: datetime) -> Claim:
        """Steps 2 to 4: what can be said before the body is read.

        Raises:
            UnauthorizedError: ``nonce_stale``, ``token``, ``token_expired``.
            ForbiddenError: ``agent_`` and the word of the agent's status.
        """
        self._check_nonce(signed, now)
        authorization = signed.parts.authorization or ""
        if not authorization.startswith(_BEARER):
            raise UnauthorizedError("token", "The access token must be a bearer token.")
        principal = self._tokens.verify(authorization.removeprefix(_BEARER), now)
        word = self._shut_out.word(principal.agent)
        if word is not None:
            raise ForbiddenError(f"agent_{word}", "This agent is shut out.")
        return Claim(signed, principal)

    def finish(self, claim: Claim, body: bytes, now: datetime) -> Principal:
        """Steps 5 to 7: the body and the signature.

        Raises:
            UnauthorizedError: the code of the profile's refusal, or ``replay``.
        """
        signed, principal = claim.signed, claim.principal
        try:
            check_content_digest(signed.parts.content_digest, body)
            params = verify_request(
                signed.parts, signed.signature_input, signed.signature, tag=Tag.AGENT, key=principal.key
            )
        except RequestRefusedError as error:
            raise UnauthorizedError(error.code, error.detail) from None
        if not self._seen.remember(principal.agent, params.nonce, now):
            raise UnauthorizedError("replay", "This request was seen before.")
        return principal

    def check_renewal(self, signed: SignedParts, body: bytes, now: datetime) -> SignatureParams:
        """Check what can be checked without the agent's key: nonce, digest and the form of the profile.

        Whether the signature fits is for the auth service to say: only it knows the agent's key. It also refuses a
        request that it answered before (docs/protocol.md 8.4), so no nonce of a stranger is remembered here.

        Raises:
            UnauthorizedError: ``nonce_stale`` or the code of the profile's refusal.
        """
        self._check_nonce(signed, now)
        try:
            check_content_digest(signed.parts.content_digest, body)
            params, _signature = parse_signature(signed.signature_input, signed.signature)
        except RequestRefusedError as error:
            raise UnauthorizedError(error.code, error.detail) from None
        if params.tag is not Tag.RENEW:
            raise UnauthorizedError("tag", "The request is signed for another call.")
        return params

    def _check_nonce(self, signed: SignedParts, now: datetime) -> None:
        if not self._nonces.accepts(signed.parts.rf_nonce, now):
            raise UnauthorizedError("nonce_stale", "Use the server nonce of this answer and ask again.")


def as_mapping(signed: SignedParts) -> Mapping[str, str | None]:
    """Return the parts as the auth service takes them."""
    parts = signed.parts
    return {
        "method": parts.method,
        "target_uri": parts.target_uri,
        "content_type": parts.content_type,
        "content_digest": parts.content_digest,
        "rf_nonce": parts.rf_nonce,
        "authorization": parts.authorization,
        "signature_input": signed.signature_input,
        "signature": signed.signature,
    }
