"""Calls to the gateway: the fixed request signature, nonces, bounds and deadlines (docs/protocol.md 8.3).

Guarantees: certificates are always verified, and there is no switch for it; redirects are not followed; no answer is
read beyond its bound; a stale nonce costs one immediate second try and no more; every fault is one of two errors,
`ServerUnreachableError` for what may pass and `RequestRefusedByServerError` for what is final.
"""

import secrets
import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp

from redflag_ops.logging import get_logger
from redflag_scanner_agent import tls_faults
from redflag_scanner_agent.cadence import parse_retry_after
from redflag_scanner_agent.contact import Contact
from redflag_scanner_agent.errors import RequestRefusedByServerError, ServerUnreachableError
from redflag_scanner_agent.no_answer import no_answer
from redflag_scanner_agent.server_trust import ServerTrust
from redflag_wire import base64_strict, limits, strict_json
from redflag_wire.clock import Clock
from redflag_wire.errors import JsonRefusedError
from redflag_wire.fields import NONCE_BYTES
from redflag_wire.http_signature import RequestParts, Tag, content_digest, sign_request
from redflag_wire.signing import SigningKey
from redflag_wire.versions import AGENT_PLANE_PREFIX

JSON_TYPE = "application/json"
REPORTS_TYPE = "application/vnd.redflag.reports.v1"
ANSWER_MAX_BYTES = 16 * 1024 * 1024  # bytes of one answer; 32 commands of the largest size and more
ANSWER_MAX_KEYS = 20_000
REQUEST_DEADLINE_S = 30.0
UPLOAD_DEADLINE_S = 120.0
CONNECT_DEADLINE_S = 15.0
NO_NONCE = "none"  # sent before the server has given one; it answers with a fresh one

_TRY_LATER = {408, 425, 429}
_SERVER_FAULT = 500
_UNAUTHORIZED = 401

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call.

    Attributes:
        method: GET or POST.
        path: below `/agent/v1`, with its query.
        body: as it travels.
        content_type: of the body; always sent.
        tag: the signature profile, None for an unsigned call.
        token: the access token; goes with `Tag.AGENT`.
        deadline_s: seconds for all of it.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = JSON_TYPE
    tag: Tag | None = None
    token: str | None = None
    deadline_s: float = REQUEST_DEADLINE_S


class Connection:
    """The way to one gateway.

    Args:
        session: made by `open_session`.
        origin: the gateway's public origin.
        key: the agent key.
        clock: for the informational time in signatures.
        trust: whose certificates count; the system's authorities if not given.
        contact: told of answers and faults, for `status`.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: str,
        key: SigningKey,
        clock: Clock,
        *,
        trust: ServerTrust | None = None,
        contact: Contact | None = None,
    ) -> None:
        self._session = session
        self._trust = trust or ServerTrust("this system's authorities")
        self._contact = contact
        self._origin = origin
        self._key = key
        self._clock = clock
        self._nonce = NO_NONCE

    async def call(self, call: Call) -> dict[str, Any]:
        """Make a call and return the JSON object of its answer.

        Raises:
            ServerUnreachableError: no answer, or one that says to try later.
            RequestRefusedByServerError: a final refusal.
        """
        try:
            return await self._noted(call)
        except RequestRefusedByServerError as error:
            if error.status != _UNAUTHORIZED or error.code != "nonce_stale":
                raise
        # The refusal carried the nonce that is current now.
        return await self._noted(call)

    async def _noted(self, call: Call) -> dict[str, Any]:
        try:
            found = await self._once(call)
        except ServerUnreachableError as error:
            if self._contact is not None:
                self._contact.failed(error.code, error.detail)
            raise
        if self._contact is not None:
            self._contact.answered()
        return found

    async def _once(self, call: Call) -> dict[str, Any]:
        url = f"{self._origin}{AGENT_PLANE_PREFIX}{call.path}"
        timeout = aiohttp.ClientTimeout(total=call.deadline_s, sock_connect=CONNECT_DEADLINE_S)
        try:
            async with self._session.request(
                call.method,
                url,
                data=call.body or None,
                headers=self._headers(call, url),
                timeout=timeout,
                allow_redirects=False,
                ssl=self._trust.context if self._origin.startswith("https:") else True,
            ) as answer:
                self._nonce = answer.headers.get("RF-Nonce", self._nonce)
                data = await _read(answer)
                status, retry_after = answer.status, answer.headers.get("Retry-After")
        except aiohttp.ClientConnectorCertificateError as error:
            code, why = tls_faults.certificate_code(error.certificate_error)
            detail = await tls_faults.refused(self._origin, why, self._trust.where)
            # The administrator may have put the right authority in place meanwhile; the next try uses it.
            self._trust.refresh()
            raise ServerUnreachableError(code, detail) from None
        except aiohttp.ClientConnectorSSLError as error:
            cause = error.os_error
            code = tls_faults.handshake_code(cause) if isinstance(cause, ssl.SSLError) else "tls_handshake"
            raise ServerUnreachableError(code, no_answer(self._origin, error)) from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ServerUnreachableError("no_answer", no_answer(self._origin, error)) from None
        return self._judge(status, data, retry_after)

    def _headers(self, call: Call, url: str) -> dict[str, str]:
        headers = {
            "Content-Type": call.content_type,
            "Content-Digest": content_digest(call.body),
            "RF-Nonce": self._nonce,
            "Accept": "application/json, application/problem+json",
        }
        if call.token is not None:
            headers["Authorization"] = f"Bearer {call.token}"
        if call.tag is not None:
            parts = RequestParts(
                method=call.method,
                target_uri=url,
                content_type=call.content_type,
                content_digest=headers["Content-Digest"],
                rf_nonce=self._nonce,
                authorization=headers.get("Authorization"),
            )
            headers["Signature-Input"], headers["Signature"] = sign_request(
                parts,
                signer=self._key.sign,
                keyid=self._key.public.thumbprint,
                created=max(0, int(self._clock.now().timestamp())),
                nonce=base64_strict.encode(secrets.token_bytes(NONCE_BYTES)),
                tag=call.tag,
            )
        return headers

    def _judge(self, status: int, data: bytes, retry_after: str | None) -> dict[str, Any]:
        found: object = None
        try:
            found = strict_json.loads(
                data,
                max_bytes=ANSWER_MAX_BYTES,
                max_keys=ANSWER_MAX_KEYS,
                max_string_bytes=limits.ENVELOPE_MAX_BYTES,
            )
        except JsonRefusedError as error:
            if status < 300:  # noqa: PLR2004 - success
                raise ServerUnreachableError("answer", f"{self._origin}: {error}") from None
        known = found if isinstance(found, dict) else {}
        if status < 300 and isinstance(found, dict):  # noqa: PLR2004
            return known
        code, detail = str(known.get("code", f"http_{status}"))[:64], str(known.get("detail", ""))[:400]
        if status in _TRY_LATER or status >= _SERVER_FAULT:
            raise ServerUnreachableError(code, f"status {status}: {detail}", parse_retry_after(retry_after))
        raise RequestRefusedByServerError(status, code, detail or f"status {status}")


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in answer.content.iter_chunked(65_536):
        data += piece
        if len(data) > ANSWER_MAX_BYTES:
            raise ValueError(f"an answer of more than {ANSWER_MAX_BYTES} bytes")
    return bytes(data)


def open_session() -> aiohttp.ClientSession:
    """Return a session: verified TLS, no cookies, no proxies out of the environment, few connections."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=4),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "redflag-agent"},
        max_line_size=16_384,
        max_field_size=16_384,
        trust_env=False,
    )
