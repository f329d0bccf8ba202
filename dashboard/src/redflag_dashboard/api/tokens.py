"""Enrolment tokens: listing and making them (docs/protocol.md 8.1)."""

import base64
import shlex
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dashboard.api import commanding
from redflag_dashboard.models.common import Page
from redflag_dashboard.models.tokens import NewToken, Token, TokenRequest, TokensQuery
from redflag_dashboard.rest import cursor
from redflag_dashboard.rest.problems import ProblemCode, ProblemError
from redflag_dashboard.rest.route import Answer, AnyRoute, Call, Nothing, Route, Scope
from redflag_ops.certificate import CERTIFICATE_MAX_BYTES, pem_blocks
from redflag_ops.errors import ConfigurationError
from redflag_store.queries.keys import manifest_chain
from redflag_store.queries.tokens import insert_token, list_tokens
from redflag_store.tables import EnrollmentToken
from redflag_wire.enrolment_token import EnrolmentToken
from redflag_wire.envelope import parse_envelope
from redflag_wire.errors import WireError
from redflag_wire.intent import IntentVerb
from redflag_wire.manifest import KeyManifest, root_fingerprint


async def list_(call: Call[Nothing, TokensQuery, Nothing]) -> Answer:
    """List enrolment tokens, newest first."""
    query = call.query
    now = call.parts.clock.now()
    after = cursor.decode(query.cursor, cursor.TOKEN_KEY)
    async with call.parts.sessions() as session:
        page = await list_tokens(session, now=now, active=query.active, after=after, limit=query.limit)
    last = page.rows[-1] if page.more else None
    return Answer(
        Page[Token](
            items=[Token.of(row, now) for row in page.rows],
            next=None if last is None else cursor.encode((last.created_at, last.id)),
            total=page.total,
        )
    )


async def create(call: Call[Nothing, Nothing, TokenRequest]) -> Answer:
    """Make an enrolment token; its secret is in this answer and nowhere else."""
    body, now = call.body, call.parts.clock.now()
    authority = _authority(call.parts.gateway_ca_file)
    token = EnrolmentToken.mint(call.parts.random, await _root_fingerprint(call.tx))
    row = EnrollmentToken(
        id=token.token_id,
        pub=token.public.raw,
        max_seats=body.seats,
        expires_at=now + timedelta(seconds=body.expires_in_s),
        tags=dict(body.tags),
        auto_approve=body.auto_approve,
        created_by=call.operator,
        created_at=now,
        note=body.note,
    )
    intent = commanding.intent_of(
        call,
        IntentVerb.CREATE_TOKEN,
        [],
        {
            "token_id": token.token_id,
            "token_pub": token.public.to_b64(),
            "seats": body.seats,
            "expires_in_s": body.expires_in_s,
            "tags": dict(body.tags),
            "auto_approve": body.auto_approve,
        },
    )
    await commanding.store(call, intent)
    await insert_token(call.tx, row)
    shown = Token.of(row, now).model_dump()
    text = token.to_text()
    line = install_line(call.parts.gateway_origin, text, authority)
    return Answer(
        NewToken(**shown, token=text, install=line, intent_id=intent.id),
        status=201,
        remembered=NewToken(**shown, token=None, install=None, intent_id=intent.id),
    )


def install_line(gateway_origin: str, token: str, authority: str | None = None) -> str:
    """The line that lets a host in, safe to paste into a shell; it needs no other file on the host."""
    trusted = [] if authority is None else ["--ca-text", authority]
    return shlex.join(["redflag-agent", "enroll", "--server", gateway_origin, *trusted, "--token", token])


def install_authority(file: Path | None) -> str | None:
    """The authority hosts need, as the line has it: base64 of each certificate, joined with commas.

    Read anew for every line, so that one made after the authority was replaced names the new one.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
    """
    if file is None:
        return None
    try:
        with file.open("rb") as stream:
            blocks = pem_blocks(stream.read(CERTIFICATE_MAX_BYTES).decode("ascii", "replace"))
    except OSError as error:
        raise ConfigurationError(f"REDFLAG_GATEWAY_CA_FILE: cannot read {file}: {error.strerror}") from None
    if not blocks:
        raise ConfigurationError(f"REDFLAG_GATEWAY_CA_FILE: {file} holds no certificate in PEM form")
    return ",".join(base64.b64encode(block).decode() for block in blocks)


def _authority(file: Path | None) -> str | None:
    """As `install_authority`; a token whose line would not let a host in is not made."""
    try:
        return install_authority(file)
    except ConfigurationError as error:
        raise ProblemError(
            ProblemCode.AUTHORITY_UNREADABLE, f"{error}; hosts need it to join, so no token was made"
        ) from None


async def _root_fingerprint(session: AsyncSession) -> bytes:
    """The fingerprint of the first manifest's roots; its signatures are for hosts to check, not for us."""
    chain = await manifest_chain(session)
    if not chain or chain[0][0] != 1:
        raise ProblemError(
            ProblemCode.NO_ROOT_KEYS, "the key manifest is not in the database; start RedFlag's keys first"
        )
    try:
        return root_fingerprint(KeyManifest.from_bytes(parse_envelope(chain[0][1]).payload))
    except WireError as error:
        raise ProblemError(
            ProblemCode.NO_ROOT_KEYS, f"the key manifest in the database cannot be read ({error.code})"
        ) from None


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        "GET", "/enrollment-tokens", "tokens_list", "List enrolment tokens", list_, Page[Token], Nothing,
        TokensQuery, Nothing, "tokens",
    ),
    Route(
        "POST", "/enrollment-tokens", "tokens_create", "Make an enrolment token; its secret is shown once",
        create, NewToken, Nothing, Nothing, TokenRequest, "tokens", status=201, scope=Scope.ADMIN, changes=True,
        problems=(ProblemCode.NO_ROOT_KEYS, ProblemCode.AUTHORITY_UNREADABLE),
    ),
)  # fmt: skip
