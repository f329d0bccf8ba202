"""How a host joins (docs/protocol.md 8.1): nothing is trusted on first use, and a retry costs no second seat.

The agent key is on the disk before it is named to the server; the helper verifies the manifest chain against the
token's root fingerprint and the server's answer against that manifest, and keeps both; the secret in the answer is
on the disk before it is confirmed.
"""

from redflag_ops.logging import get_logger
from redflag_scanner_agent import facts
from redflag_scanner_agent.connection import Call, Connection
from redflag_scanner_agent.errors import (
    EnrolmentRefusedError,
    HelperRefusedError,
    RequestRefusedByServerError,
    ServerUnreachableError,
)
from redflag_scanner_agent.helper_client import HELLO_DEADLINE_S, HelperClient
from redflag_scanner_agent.identity import Generation, Identity, IdentityStore
from redflag_wire import strict_json
from redflag_wire.enrolment import Enrolled, EnrollRequest
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import parse_envelope
from redflag_wire.errors import WireError
from redflag_wire.payload_types import PayloadType
from redflag_wire.signing import SigningKey, sign_envelope

CHAIN_MAX = 1_024  # manifests a server may send at once
_REFUSED = "enrolment_refused"  # the one answer to a token that is used up, expired, revoked or unknown
_ADVICE = "ask for a new one: redflag tokens create"

log = get_logger()


def parse_token(text: str) -> EnrolmentToken:
    """Return the token of its text.

    Raises:
        EnrolmentRefusedError: it is not one.
    """
    try:
        return EnrolmentToken.parse(text.strip())
    except WireError as error:
        raise EnrolmentRefusedError(error.code, f"this is not an enrolment token: {error.detail}") from None


async def fetch_chain(connection: Connection) -> list[bytes]:
    """Return the server's manifest chain, unverified.

    Raises:
        ServerUnreachableError: no usable answer.
    """
    found = (await connection.call(Call(method="GET", path="/keys"))).get("manifests")
    if not isinstance(found, list) or not 0 < len(found) <= CHAIN_MAX:
        raise ServerUnreachableError("answer", "the server sent no key manifests")
    return [strict_json.dumps(one) for one in found]


async def enrol(
    *,
    connection: Connection,
    helper: HelperClient,
    store: IdentityStore,
    key: SigningKey,
    server: str,
    token: EnrolmentToken,
    hello_deadline_s: float = HELLO_DEADLINE_S,
) -> Identity:
    """Take a seat of the token; return the identity, which is on the disk.

    Raises:
        ServerUnreachableError: the server is away; the same call may be made again.
        EnrolmentRefusedError: the token, or what the server showed, is refused.
        AgentError: the helper is gone, a fact is missing or the disk refused.
    """
    hello = await helper.hello(hello_deadline_s)
    capabilities = hello.capabilities
    chain = await fetch_chain(connection)
    try:
        fleet = await helper.first_manifest(token.rootfp, chain)
    except HelperRefusedError as error:
        raise EnrolmentRefusedError(
            error.code, f"the server is not the one this token is for ({error.detail})"
        ) from None
    about = facts.collect(capabilities)
    challenge = (await connection.call(Call(method="GET", path="/enroll/challenge"))).get("challenge")
    try:
        request = EnrollRequest(
            fleet=fleet,
            token_id=token.token_id,
            challenge=str(challenge),
            agent_pub=key.public.to_b64(),
            receipt_pub=hello.receipt_pub,
            machine_id=facts.machine_id(),
            facts=about.model_dump(mode="json"),
        )
        envelope = sign_envelope(PayloadType.ENROLL, request.to_bytes(), token.signing_key, key)
        answer = await connection.call(Call(method="POST", path="/enroll", body=envelope.to_bytes()))
        enrolled_bytes = strict_json.dumps(answer.get("enrolled"))
        await helper.enrolled(enrolled_bytes, key.public.to_b64())
        # The helper verified these bytes; it answered, so they parse.
        enrolled = Enrolled.from_bytes(parse_envelope(enrolled_bytes).payload)
    except RequestRefusedByServerError as error:
        new_one = f"; {_ADVICE}" if error.code == _REFUSED else ""
        raise EnrolmentRefusedError(
            error.code, f"the server refused this token: {error.detail}{new_one}"
        ) from None
    except HelperRefusedError as error:
        raise EnrolmentRefusedError(error.code, f"the server's answer is refused: {error.detail}") from None
    except WireError as error:
        raise ServerUnreachableError("answer", f"the server's answer is not understood: {error}") from None
    identity = Identity(
        server=server,
        fleet=enrolled.fleet,
        agent=enrolled.agent,
        access_token=enrolled.access_token,
        confirmed=None,
        issued=Generation(gen=enrolled.gen, secret=enrolled.renewal_secret),
    )
    store.save(identity)
    log.info("agent.enrolled", agent=str(identity.agent), fleet=identity.fleet, token=token.token_id)
    return identity
