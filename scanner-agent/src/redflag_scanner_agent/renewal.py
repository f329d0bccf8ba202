"""Access tokens: used, renewed before they end, confirmed once the successor is on the disk (docs/protocol.md 8.4).

An agent never enrols again by itself: whatever the server says here, the identity stays, and people decide.
"""

import asyncio
from typing import Any

from redflag_ops.logging import get_logger
from redflag_scanner_agent.connection import Call, Connection
from redflag_scanner_agent.errors import NotDurableError, RequestRefusedByServerError, ServerUnreachableError
from redflag_scanner_agent.identity import Generation, Identity, IdentityStore
from redflag_wire import base64_strict, strict_json
from redflag_wire.clock import Clock
from redflag_wire.enrolment import ConfirmRequest, RenewAnswer, RenewRequest
from redflag_wire.errors import WireError
from redflag_wire.http_signature import Tag

RENEW_AT = 2 / 3  # of a token's life
LIFE_UNKNOWN_S = 900.0  # taken for the life of a token that does not show it
_UNAUTHORIZED = 401
_ENDED_TOKENS = {"token", "token_expired"}

log = get_logger()


class Access:
    """Calls with the access token, which is renewed when it must be.

    Args:
        connection: makes the calls.
        store: keeps the identity.
        identity: the one loaded.
        machine_id: proves nothing, but a difference stops the renewal.
        clock: its monotonic clock decides when a token is old; the wall clock may be wrong.
    """

    def __init__(
        self,
        connection: Connection,
        store: IdentityStore,
        identity: Identity,
        machine_id: str,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._store = store
        self._identity = identity
        self._machine_id = machine_id
        self._clock = clock
        self._changing = asyncio.Lock()
        self._token = identity.access_token
        self._renew_at = clock.monotonic() + _remaining_s(identity.access_token, clock) * RENEW_AT

    async def call(self, call: Call) -> dict[str, Any]:
        """Make a signed call under the access token.

        Raises:
            ServerUnreachableError: no answer, or one that says to try later.
            RequestRefusedByServerError: a final refusal.
        """
        if self._clock.monotonic() >= self._renew_at:
            await self._renew(self._token)
        token = self._token
        try:
            return await self._connection.call(_with_token(call, token))
        except RequestRefusedByServerError as error:
            if error.status != _UNAUTHORIZED or error.code not in _ENDED_TOKENS:
                raise
        await self._renew(token)
        return await self._connection.call(_with_token(call, self._token))

    async def confirm(self) -> None:
        """Tell the server that the issued generation is on the disk; nothing if it knows.

        Raises:
            ServerUnreachableError: not now; the next call of this tries again.
        """
        async with self._changing:
            await self._confirm()

    async def _confirm(self) -> None:
        issued = self._identity.issued
        if issued is None:
            return
        body = ConfirmRequest(gen=issued.gen, secret=issued.secret).to_bytes()
        try:
            await self._connection.call(_renewal_call("/renew/confirm", body))
        except RequestRefusedByServerError as error:
            # Renewing with whatever generation is held sorts it out, or is refused with the reason.
            log.warning("access.confirm_refused", code=error.code, detail=error.detail)
            if self._identity.confirmed is not None and error.code == "secret":
                self._keep(self._identity.model_copy(update={"issued": None}))
            return
        self._keep(self._identity.confirm())

    async def _renew(self, used: str) -> None:
        async with self._changing:
            if self._token != used:
                return  # another call renewed it meanwhile
            held = self._identity.newest
            request = RenewRequest(machine_id=self._machine_id, gen=held.gen, secret=held.secret)
            found = await self._connection.call(_renewal_call("/renew", request.to_bytes()))
            try:
                answer = RenewAnswer.from_object(found)
            except WireError as error:
                raise ServerUnreachableError("answer", str(error)) from None
            self._use(answer.access_token)
            following = self._identity
            if following.issued is not None:
                following = following.confirm()  # presenting it was its confirmation
            if not self._keep(
                following.renewed(answer.access_token, Generation(gen=answer.gen, secret=answer.secret))
            ):
                return  # the old generation stays in force, and is presented again next time
            log.info("access.renewed", gen=answer.gen)
            try:
                await self._confirm()
            except ServerUnreachableError as error:
                log.warning("access.confirm_later", code=error.code, detail=error.detail)

    def _use(self, token: str) -> None:
        self._token = token
        self._renew_at = self._clock.monotonic() + _life_s(token) * RENEW_AT

    def _keep(self, identity: Identity) -> bool:
        try:
            self._store.save(identity)
        except NotDurableError as error:
            log.error("access.not_durable", code=error.code, detail=error.detail)  # noqa: TRY400 - the text says it all
            return False
        self._identity = identity
        return True


def _with_token(call: Call, token: str) -> Call:
    return Call(
        method=call.method,
        path=call.path,
        body=call.body,
        content_type=call.content_type,
        tag=Tag.AGENT,
        token=token,
        deadline_s=call.deadline_s,
    )


def _renewal_call(path: str, body: bytes) -> Call:
    return Call(method="POST", path=path, body=body, tag=Tag.RENEW)


def _times(token: str) -> tuple[int, int] | None:
    """Return `iat` and `exp` as the token itself says, unverified: they only steer when to renew."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        return None
    try:
        claims = strict_json.loads(base64_strict.decode_url(parts[1]))
    except WireError:
        return None
    if not isinstance(claims, dict):
        return None
    iat, exp = claims.get("iat"), claims.get("exp")
    return (iat, exp) if isinstance(iat, int) and isinstance(exp, int) and iat < exp else None


def _life_s(token: str) -> float:
    times = _times(token)
    return LIFE_UNKNOWN_S if times is None else float(times[1] - times[0])


def _remaining_s(token: str, clock: Clock) -> float:
    """Return what is left of a token found on the disk; a wrong wall clock costs one renewal, nothing else."""
    times = _times(token)
    if times is None:
        return 0.0
    age = clock.now().timestamp() - times[0]
    life = float(times[1] - times[0])
    return life - age if 0 <= age < life else 0.0
