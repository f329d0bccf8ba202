"""Gives hosts their identity: the seat and the agent in one transaction, a retry free (docs/protocol.md 8.1).

Guarantees: seats are taken by one guarded UPDATE, so fifty hosts on three seats make three agents; the same host
asking again with the same token and key gets the same id and a fresh secret for the generation it never confirmed,
and takes no seat; every refusal is one answer that tells nothing about the token.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dispatcher.access_tokens import AccessTokens
from redflag_dispatcher.enrolment_rules import (
    SECRET_BYTES,
    ReadEnrolment,
    check_signatures,
    read_enrolment,
    refused,
    secret_text,
)
from redflag_dispatcher.errors import EnrolmentRefusedError
from redflag_dispatcher.keys import KeyRing
from redflag_dispatcher.refusal_notices import Reason
from redflag_ops.logging import get_logger
from redflag_store.queries import enrolment as queries
from redflag_store.queries.enrolment import NewAgent
from redflag_store.queries.journal import EventRow, write_events
from redflag_store.states import AgentState, GenerationState, Severity
from redflag_wire.clock import Clock
from redflag_wire.enrolment import AgentStatus, Enrolled
from redflag_wire.envelope import Envelope
from redflag_wire.keys import PublicKey
from redflag_wire.limits import NAME_MAX_BYTES
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import sign_envelope

FIRST_GENERATION = 1
COMPONENT = "auth"

_log = get_logger()


def hostname_of(facts: Mapping[str, object], machine_id: str) -> str:
    """Return the name a host goes by: what it says, if that is a usable text, else a piece of its machine id."""
    name = facts.get("hostname")
    if isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) <= NAME_MAX_BYTES:
        return name
    return f"host-{machine_id[:12]}"


class Enrolments:
    """Answers enrolment requests.

    Args:
        sessions: of the database.
        ring: the access key.
        tokens: mints access tokens.
        fleet: this installation.
        clock: the server's.
        new_id: makes UUIDv7 keys.
        random: source of renewal secrets.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        ring: KeyRing,
        tokens: AccessTokens,
        *,
        fleet: str,
        clock: Clock,
        new_id: Callable[[], UUID],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._sessions = sessions
        self._ring = ring
        self._tokens = tokens
        self._fleet = fleet
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def enrol(self, data: bytes, peer: str) -> Envelope:
        """Return the ``enrolled.v1`` envelope that answers a request.

        Args:
            data: the ``enroll.v1`` envelope.
            peer: the address the gateway saw, for the event.

        Raises:
            EnrolmentRefusedError: status 400 for what is malformed, 403 for everything else.
        """
        read = read_enrolment(data, fleet=self._fleet)
        now = self._clock.now()
        token = read.request.token_id
        try:
            agent, status, secret = await self._admit(read, peer, now)
        except EnrolmentRefusedError as error:
            error.token = token
            raise
        _log.info("auth.enrolled", agent=str(agent), token=token, status=status.value, peer=peer)
        return self._answer(read, agent, status, secret, now)

    async def _admit(self, read: ReadEnrolment, peer: str, now: datetime) -> tuple[UUID, AgentStatus, bytes]:
        """The host's id and standing, and a fresh secret that is stored as a hash."""
        token = read.request.token_id
        async with self._sessions() as session, session.begin():
            pub = await queries.token_pub(session, token)
            if pub is None:
                raise refused(Reason.TOKEN_UNKNOWN)
            check_signatures(read, PublicKey(pub))
            agent = await queries.enrolled_agent(session, token, read.agent_key.raw)
            if agent is None:
                agent, status = await self._join(session, read, peer, now)
            else:
                status = await self._again(session, agent, read)
            secret = self._random(SECRET_BYTES)
            await queries.issue_generation(
                session, agent, FIRST_GENERATION, hashlib.sha256(secret).digest(), now
            )
        return agent, status, secret

    async def _join(
        self, session: AsyncSession, read: ReadEnrolment, peer: str, now: datetime
    ) -> tuple[UUID, AgentStatus]:
        if await queries.key_is_known(session, [read.agent_key.thumbprint, read.receipt_key.thumbprint]):
            raise refused(Reason.KEY_KNOWN)
        seat = await queries.take_seat(session, read.request.token_id, now)
        if seat is None:
            raise refused(Reason(await queries.why_no_seat(session, read.request.token_id, now)))
        status = AgentStatus.ACTIVE if seat.auto_approve else AgentStatus.PENDING
        agent = NewAgent(
            id=self._new_id(),
            hostname=hostname_of(read.request.facts, read.request.machine_id),
            machine_id=read.request.machine_id,
            state=status.value,
            akt=read.agent_key.thumbprint,
            token_id=read.request.token_id,
            tags=seat.tags,
            agent_pub=read.agent_key.raw,
            agent_keyid=read.agent_key.keyid,
            receipt_pub=read.receipt_key.raw,
            receipt_keyid=read.receipt_key.keyid,
            receipt_thumbprint=read.receipt_key.thumbprint,
        )
        await queries.insert_agent(session, agent, now)
        await write_events(
            session,
            [
                EventRow(
                    self._new_id(),
                    now,
                    Severity.INFO,
                    COMPONENT,
                    "host_enrolled",
                    f"{agent.hostname} joined with token {agent.token_id}",
                    agent.id,
                    {"token": agent.token_id, "peer": peer[:64], "status": status.value},
                )
            ],
        )
        return agent.id, status

    async def _again(self, session: AsyncSession, agent: UUID, read: ReadEnrolment) -> AgentStatus:
        """A repeated request: good until the first generation is confirmed.

        The token may have run out meanwhile, of time or of seats: the seat is this host's already. Only a token
        that was revoked takes it back.
        """
        held = await queries.hold_agent(session, agent)
        if held is None or held.akt != read.agent_key.thumbprint:
            raise refused(Reason.KEY_KNOWN)
        if await queries.token_is_revoked(session, read.request.token_id):
            raise refused(Reason.TOKEN_REVOKED)
        if held.state not in {AgentState.ACTIVE, AgentState.PENDING}:
            raise refused(Reason.HOST_SHUT_OUT)
        generations = await queries.generations(session, agent)
        confirmed = any(row.state != GenerationState.ISSUED for row in generations)
        if confirmed or any(row.gen != FIRST_GENERATION for row in generations):
            raise EnrolmentRefusedError(
                "already_enrolled", "this key is enrolled and its secret confirmed: renew", status=409,
                reason=Reason.CONFIRMED,
            )  # fmt: skip
        return AgentStatus(held.state)

    def _answer(
        self, read: ReadEnrolment, agent: UUID, status: AgentStatus, secret: bytes, now: datetime
    ) -> Envelope:
        payload = Enrolled(
            fleet=self._fleet,
            token_id=read.request.token_id,
            agent=agent,
            agent_pub=read.request.agent_pub,
            receipt_pub=read.request.receipt_pub,
            gen=FIRST_GENERATION,
            access_token=self._tokens.mint(agent, read.agent_key, FIRST_GENERATION, now),
            renewal_secret=secret_text(secret),
            status=status,
            at=now,
        ).to_bytes()
        return sign_envelope(PayloadType.ENROLLED, payload, self._ring.keys.access)
