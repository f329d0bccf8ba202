"""The calls of ``/agent/v1``: what each takes and answers (ARCHITECTURE.md 5).

Guarantees: handlers see a request only after `edge` let it in; what is not one of the forms below is refused with
400 before anything is done. Which calls need no signature stands in one place, ``UNSIGNED``.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redflag_broker_config.subjects import SERVICE_CONFIRM, SERVICE_ENROLL, SERVICE_RENEW
from redflag_gateway.auth import Authenticator, SignedParts, as_mapping
from redflag_gateway.beacon import Beacon
from redflag_gateway.confirmed import Confirmed
from redflag_gateway.errors import ForbiddenError, MalformedError, UnavailableError
from redflag_gateway.keys import Keys
from redflag_gateway.nonces import ServerNonces
from redflag_gateway.polls import HandedOut, Polls
from redflag_gateway.reports import CONTENT_TYPE as REPORTS_TYPE
from redflag_gateway.reports import Reports
from redflag_gateway.services import Services
from redflag_wire import base64_strict, limits, strict_json
from redflag_wire.clock import Clock
from redflag_wire.enrolment import EnrollRequest
from redflag_wire.envelope import parse_envelope
from redflag_wire.errors import WireError
from redflag_wire.payload_types import PayloadType
from redflag_wire.versions import AGENT_PLANE_PREFIX

REQUEST_MAX_BYTES = 64 * 1024  # every call but /reports
HANDLES_MAX = 64  # in one acknowledgement
STARTING_RETRY_S = 2
CHALLENGE_S = 600  # seconds in a challenge's bucket; the previous one is good too

JSON_TYPE = "application/json"
ENVELOPE_TYPES = frozenset({JSON_TYPE, "application/vnd.redflag.enroll.v1+json"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was let in.

    Attributes:
        agent: who asks; None on calls without a signature of their own.
        body: its bytes.
        content_type: as sent, without parameters.
        query: parameters of the address.
        peer: the address it came from.
        signed: the parts of the signature, on calls the auth service verifies.
        record: fields for the record of this request.
    """

    agent: UUID | None
    body: bytes
    content_type: str
    query: dict[str, str]
    peer: str
    signed: SignedParts | None
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer."""

    body: bytes
    status: int = 200


Call = Callable[[Asked], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call: where it is, what it may take, and who serves it."""

    method: str
    path: str
    name: str
    call: Call
    body_max: int = REQUEST_MAX_BYTES


UNSIGNED = frozenset(
    {
        ("GET", f"{AGENT_PLANE_PREFIX}/keys"),
        ("GET", f"{AGENT_PLANE_PREFIX}/enroll/challenge"),
        ("POST", f"{AGENT_PLANE_PREFIX}/enroll"),
    }
)
"""The only calls that need no request signature (docs/protocol.md 8.3)."""

SIGNED_WITHOUT_TOKEN = frozenset(
    {
        ("POST", f"{AGENT_PLANE_PREFIX}/renew"),
        ("POST", f"{AGENT_PLANE_PREFIX}/renew/confirm"),
    }
)
"""Calls under the profile without ``authorization``; the auth service verifies them."""


class AgentPlane:
    """Serves the calls.

    Args:
        keys: the manifest chain.
        beacon: the newest beacon.
        confirmed: stored reports.
        polls: commands and acknowledgements.
        reports: reports.
        services: enrolment and renewal.
        challenges: enrolment challenges.
        authenticator: checks renewals.
        clock: the time.
        next_poll_s: what agents in normal mode are told.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        beacon: Beacon,
        confirmed: Confirmed,
        polls: Polls,
        reports: Reports,
        services: Services,
        challenges: ServerNonces,
        authenticator: Authenticator,
        clock: Clock,
        next_poll_s: int,
    ) -> None:
        self._keys = keys
        self._beacon = beacon
        self._confirmed = confirmed
        self._polls = polls
        self._reports = reports
        self._services = services
        self._challenges = challenges
        self._authenticator = authenticator
        self._clock = clock
        self._next_poll_s = next_poll_s

    def routes(self) -> tuple[Route, ...]:
        """Return all calls."""
        prefix = AGENT_PLANE_PREFIX
        return (
            Route("GET", f"{prefix}/keys", "keys", self.get_keys),
            Route("GET", f"{prefix}/enroll/challenge", "challenge", self.get_challenge),
            Route("POST", f"{prefix}/enroll", "enroll", self.enroll),
            Route("POST", f"{prefix}/renew", "renew", self.renew),
            Route("POST", f"{prefix}/renew/confirm", "confirm", self.confirm),
            Route("GET", f"{prefix}/commands", "commands", self.get_commands),
            Route("POST", f"{prefix}/commands/ack", "ack", self.acknowledge),
            Route("POST", f"{prefix}/reports", "reports", self.report, limits.REPORTS_MAX_BYTES),
        )

    async def get_keys(self, _asked: Asked) -> Answer:
        """Return the manifest chain, version 1 first."""
        if not self._keys.chain:
            raise UnavailableError("no_manifest", "The key manifest is not there yet.", STARTING_RETRY_S)
        return Answer(b'{"manifests":[' + b",".join(self._keys.chain) + b"]}")

    async def get_challenge(self, _asked: Asked) -> Answer:
        """Return the challenge an enrolment has to sign."""
        return _json({"challenge": self._challenges.current(self._clock.now())})

    async def enroll(self, asked: Asked) -> Answer:
        """Pass an enrolment on, once its challenge is one of this installation's gateways."""
        if asked.content_type not in ENVELOPE_TYPES:
            raise MalformedError("content_type", "The body must be an envelope as JSON.")
        try:
            envelope = parse_envelope(asked.body)
            if envelope.payload_type != PayloadType.ENROLL:
                raise MalformedError("payload_type", "The envelope holds something else.")
            # Read before it is verified, for the challenge alone; the auth service verifies both signatures.
            request = EnrollRequest.from_bytes(envelope.payload)
        except WireError as error:
            raise MalformedError(error.code, error.detail) from None
        if not self._challenges.accepts(request.challenge, self._clock.now()):
            raise ForbiddenError("challenge", "The challenge is too old; ask for a new one.")
        question = {"envelope": base64_strict.encode(asked.body), "peer": asked.peer}
        return _json(await self._services.ask(SERVICE_ENROLL, question))

    async def renew(self, asked: Asked) -> Answer:
        """Pass a renewal on."""
        return await self._ask_signed(SERVICE_RENEW, asked)

    async def confirm(self, asked: Asked) -> Answer:
        """Pass the confirmation of a renewal on."""
        return await self._ask_signed(SERVICE_CONFIRM, asked)

    async def _ask_signed(self, subject: str, asked: Asked) -> Answer:
        assert asked.signed is not None  # noqa: S101 - the edge lets no renewal in without
        self._authenticator.check_renewal(asked.signed, asked.body, self._clock.now())
        question = {**as_mapping(asked.signed), "body": base64_strict.encode(asked.body)}
        return _json(await self._services.ask(subject, question))

    async def get_commands(self, asked: Asked) -> Answer:
        """Return what is pending for the agent, waiting up to ``wait`` seconds for it."""
        agent = _agent(asked)
        handed_out = await self._polls.poll(agent, _wait_of(asked.query))
        if handed_out:
            asked.record["cmds"] = [item.command for item in handed_out]
            asked.record["ops"] = [item.op for item in handed_out]
        return Answer(self._commands_body(agent, handed_out))

    def _commands_body(self, agent: UUID, handed_out: list[HandedOut]) -> bytes:
        # Envelopes are JSON objects already: putting their bytes in place costs less than parsing and writing them,
        # and leaves them as they were signed.
        commands = b",".join(
            b'{"envelope":' + item.envelope + b',"handle":"' + item.handle.encode() + b'"}'
            for item in handed_out
        )
        rest = json.dumps(
            {"confirmed_rseq": self._confirmed.get(agent), "next_poll_s": self._next_poll_s},
            separators=(",", ":"),
        )
        beacon = self._beacon.envelope or b"null"
        return b'{"commands":[' + commands + b'],"beacon":' + beacon + b"," + rest[1:].encode()

    async def acknowledge(self, asked: Asked) -> Answer:
        """Acknowledge commands that are in the host's journal."""
        agent = _agent(asked)
        if asked.content_type != JSON_TYPE:
            raise MalformedError("content_type", "The body must be JSON.")
        try:
            body = strict_json.loads(asked.body)
        except WireError as error:
            raise MalformedError(error.code, error.detail) from None
        handles = body.get("handles") if isinstance(body, dict) and body.keys() == {"handles"} else None
        if not isinstance(handles, list) or not all(isinstance(handle, str) for handle in handles):
            raise MalformedError("schema", "The body must be an object with a list of handles.")
        if len(handles) > HANDLES_MAX:
            raise MalformedError("too_many_handles", f"At most {HANDLES_MAX} handles at a time.")
        acked = await self._polls.acknowledge(agent, list(dict.fromkeys(handles)))
        asked.record["acked"] = acked
        return _json({"acked": acked})

    async def report(self, asked: Asked) -> Answer:
        """Store reports."""
        if asked.content_type != REPORTS_TYPE:
            raise MalformedError("content_type", "The body must be framed reports.")
        stored = await self._reports.store(_agent(asked), asked.body)
        asked.record["reports"] = stored
        return _json({"stored": stored}, 202)


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(json.dumps(body, separators=(",", ":")).encode(), status)


def _agent(asked: Asked) -> UUID:
    assert asked.agent is not None  # noqa: S101 - the edge lets no signed call in without
    return asked.agent


def _wait_of(query: dict[str, str]) -> int:
    """Return how many seconds the poll may be held.

    Raises:
        MalformedError: it is not a number from 0 to ``LONG_POLL_MAX_S``, or something else is asked.
    """
    text = query.get("wait", "0")
    digits = text.isascii() and text.isdigit() and len(text) <= 2  # noqa: PLR2004 - two digits
    if query.keys() - {"wait"} or not digits or int(text) > limits.LONG_POLL_MAX_S:
        raise MalformedError("wait", f"wait must be a number of seconds from 0 to {limits.LONG_POLL_MAX_S}.")
    return int(text)
