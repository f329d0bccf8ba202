"""Renews access by generations of secrets (docs/protocol.md 8.4).

Guarantees: each decision is made and written under the lock of the agent's row; a lost answer never locks an agent
out, because the generation it holds stays good until it confirms, or shows, the next one; a generation that has
ended is refused and told as a possible clone. The request's signature is verified here, with the stored agent key:
a gateway is not believed about who asks.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.access_tokens import AccessTokens
from redflag_dispatcher.enrolment_rules import (
    SECRET_BYTES,
    Generations,
    RenewalStep,
    confirmation_step,
    renewal_step,
    secret_text,
)
from redflag_dispatcher.errors import EnrolmentRefusedError
from redflag_ops.logging import get_logger
from redflag_store.queries import enrolment as queries
from redflag_store.queries.enrolment import HeldAgent
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.states import AgentState, GenerationState, Severity
from redflag_wire import base64_strict
from redflag_wire.clock import Clock
from redflag_wire.enrolment import ConfirmAnswer, ConfirmRequest, RenewAnswer, RenewRequest
from redflag_wire.errors import WireError
from redflag_wire.http_signature import (
    RequestParts,
    Tag,
    check_content_digest,
    parse_signature,
    verify_request,
)
from redflag_wire.keys import PublicKey

IDLE_LIMIT = timedelta(days=90)  # without a renewal; then an operator has to let the host join again
COMPONENT = "auth"
ANSWERED_MAX = 100_000  # signatures remembered; each about 100 bytes

_log = get_logger()
_Body = TypeVar("_Body", RenewRequest, ConfirmRequest)


class SignedRequest:
    """A renewal or confirmation as the gateway passes it on: the signed parts and the body.

    Args:
        parts: what the signature covers.
        signature_input: the header.
        signature: the header.
        body: the bytes.
    """

    def __init__(self, parts: RequestParts, signature_input: str, signature: str, body: bytes) -> None:
        self.parts = parts
        self.signature_input = signature_input
        self.signature = signature
        self.body = body


class Renewals:
    """Answers renewals and confirmations.

    Args:
        sessions: of the database.
        tokens: mints access tokens.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        random: source of renewal secrets.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        tokens: AccessTokens,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._answered: OrderedDict[bytes, None] = OrderedDict()  # hashes of signatures that issued a secret

    async def renew(self, request: SignedRequest) -> RenewAnswer:
        """Issue the next generation and an access token.

        Raises:
            EnrolmentRefusedError: 400 malformed, 401 signature, 409 ``renewal_repeated``, 403 ``agent_<state>``,
                ``machine_id``, ``secret``, ``idle`` or ``generation_ended``.
        """
        agent = await self._authenticate(request)
        asked = _body(RenewRequest, request.body)
        self._refuse_repeated(request)
        digest = _secret_hash(asked.secret)
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            held = await self._hold(session, agent)
            if held.machine_id != asked.machine_id:
                raise EnrolmentRefusedError(
                    "machine_id", "the machine is another one; an operator must rebind it"
                )
            generations = await self._generations(session, held.id)
            if generations.last_used_at is not None and generations.last_used_at + IDLE_LIMIT < now:
                raise EnrolmentRefusedError(
                    "idle", "not renewed for 90 days; an operator must let it join again"
                )
            step = renewal_step(generations, asked.gen, digest)
            if step is not RenewalStep.ENDED:
                if step is RenewalStep.CONFIRM_AND_ISSUE:
                    await queries.confirm_generation(session, held.id, asked.gen, now)
                await queries.use_generation(session, held.id, asked.gen, now)
                secret = self._random(SECRET_BYTES)
                await queries.issue_generation(
                    session, held.id, asked.gen + 1, hashlib.sha256(secret).digest(), now
                )
        if step is RenewalStep.ENDED:
            raise await self._ended(held, asked.gen, now)
        key = PublicKey(held.agent_pub)
        _log.info("auth.renewed", agent=str(held.id), gen=asked.gen + 1)
        return RenewAnswer(
            access_token=self._tokens.mint(held.id, key, asked.gen + 1, now),
            gen=asked.gen + 1,
            secret=secret_text(secret),
        )

    async def confirm(self, request: SignedRequest) -> ConfirmAnswer:
        """Put the issued generation in force; harmless when repeated.

        Raises:
            EnrolmentRefusedError: as ``renew``.
        """
        agent = await self._authenticate(request)
        asked = _body(ConfirmRequest, request.body)
        digest = _secret_hash(asked.secret)
        now = self._clock.now()
        async with self._sessions() as session, session.begin():
            held = await self._hold(session, agent)
            step = confirmation_step(await self._generations(session, held.id), asked.gen, digest)
            if step is RenewalStep.CONFIRM:
                await queries.confirm_generation(session, held.id, asked.gen, now)
        if step is RenewalStep.ENDED:
            raise await self._ended(held, asked.gen, now)
        return ConfirmAnswer(gen=asked.gen)

    def _refuse_repeated(self, request: SignedRequest) -> None:
        """Refuse a signature that was answered before: a second secret would make the first one worthless.

        An agent that lost the answer signs anew. The memory is this process's own; what another dispatcher or a
        restart lets through still issues nothing that the agent's key did not ask for.
        """
        mark = hashlib.sha256(request.signature.encode()).digest()
        if mark in self._answered:
            raise EnrolmentRefusedError("renewal_repeated", "this request was answered before", status=409)
        self._answered[mark] = None
        if len(self._answered) > ANSWERED_MAX:
            self._answered.popitem(last=False)

    async def _authenticate(self, request: SignedRequest) -> UUID:
        try:
            check_content_digest(request.parts.content_digest, request.body)
            params, _ = parse_signature(request.signature_input, request.signature)
        except WireError as error:
            raise EnrolmentRefusedError(error.code, error.detail, status=401) from None
        async with self._sessions() as session, session.begin():
            agent = await queries.agent_by_thumbprint(session, params.keyid)
        if agent is None:
            raise EnrolmentRefusedError("keyid", "no agent has this key", status=401)
        try:
            verify_request(
                request.parts,
                request.signature_input,
                request.signature,
                tag=Tag.RENEW,
                key=PublicKey(agent.agent_pub),
            )
        except WireError as error:
            raise EnrolmentRefusedError(error.code, error.detail, status=401) from None
        return agent.id

    @staticmethod
    async def _hold(session: AsyncSession, agent: UUID) -> HeldAgent:
        held = await queries.hold_agent(session, agent)
        if held is None:
            raise EnrolmentRefusedError("keyid", "no agent has this key", status=401)
        if held.state not in {AgentState.ACTIVE, AgentState.PENDING}:
            raise EnrolmentRefusedError(f"agent_{held.state}", "this agent may not renew")
        return held

    @staticmethod
    async def _generations(session: AsyncSession, agent: UUID) -> Generations:
        rows = {row.state: row for row in await queries.generations(session, agent)}
        current, issued = rows.get(GenerationState.CURRENT), rows.get(GenerationState.ISSUED)
        newest = issued or current
        return Generations(
            confirmed=0 if current is None else current.gen,
            confirmed_hash=None if current is None else current.secret_sha256,
            issued=0 if newest is None else newest.gen,
            issued_hash=None if newest is None else newest.secret_sha256,
            last_used_at=None if current is None else current.last_used_at,
        )

    async def _ended(self, held: HeldAgent, gen: int, now: datetime) -> EnrolmentRefusedError:
        """Tell people, in a transaction of its own: the refusal must not take the event with it."""
        async with self._sessions() as session, session.begin():
            await write_events(
                session,
                [
                    EventRow(
                        self._new_id(),
                        now,
                        Severity.CRITICAL,
                        COMPONENT,
                        "generation_ended",
                        "a renewal secret that was replaced is used again: a clone, or an old copy of its state",
                        held.id,
                        {"gen": gen},
                    )
                ],
            )
        _log.error("auth.generation_ended", agent=str(held.id), gen=gen)
        return EnrolmentRefusedError("generation_ended", "this generation was replaced")


def _body(model: type[_Body], data: bytes) -> _Body:
    try:
        return model.from_bytes(data)
    except WireError as error:
        raise EnrolmentRefusedError(error.code, error.detail, status=400) from None


def _secret_hash(text: str) -> bytes:
    return hashlib.sha256(base64_strict.decode(text)).digest()
