"""Signed requests: one fixed profile of RFC 9421, and nothing else (docs/protocol.md 8.3).

Invariants:
- One signature, labelled ``rf``; the exact component list of its tag, in its order; the exact parameters, in theirs.
  Anything more, less or otherwise is refused before any key is touched.
- The base is made from the parts the server itself knows (its configured origin, not ``Host``), never from what the
  signature says about them.
- ``created`` is not compared with a clock: freshness is the server nonce's task, so a host's wrong date does no harm.
- Whether the body fits ``content-digest``, the server nonce is current and the signature nonce is new, is the
  caller's; ``check_content_digest`` is here for the first.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from redflag_wire import base64_strict, limits
from redflag_wire.errors import Base64RefusedError, RequestRefusedError, SignatureRefusedError
from redflag_wire.fields import NONCE_BYTES
from redflag_wire.keys import PublicKey

LABEL: Final = "rf"


class Tag(StrEnum):
    """Which profile a request is signed under."""

    AGENT = "rf-agent-v1"
    RENEW = "rf-renew-v1"  # no access token at hand: /renew and /renew/confirm


COMPONENTS: Final[Mapping[Tag, tuple[str, ...]]] = MappingProxyType(
    {
        Tag.AGENT: ("@method", "@target-uri", "content-digest", "content-type", "authorization", "rf-nonce"),
        Tag.RENEW: ("@method", "@target-uri", "content-digest", "content-type", "rf-nonce"),
    }
)
"""What a signature covers, in this order."""

_LIST: Final = {tag: "(" + " ".join(f'"{name}"' for name in names) + ")" for tag, names in COMPONENTS.items()}
_PARAMS: Final = re.compile(
    r"(?P<list>\([^()]{0,512}\));created=(?P<created>[1-9][0-9]{0,11})"
    r';nonce="(?P<nonce>[A-Za-z0-9+/=]{24})";keyid="(?P<keyid>[A-Za-z0-9_-]{43})"'
    r';alg="ed25519";tag="(?P<tag>[a-z0-9-]{1,32})"'
)
_SIGNATURE: Final = re.compile(r"rf=:(?P<sig>[A-Za-z0-9+/=]{88}):")
_DIGEST: Final = re.compile(r"sha-256=:[A-Za-z0-9+/=]{44}:")
# Visible ASCII with single inner spaces or tabs: no surrounding white space, nothing that could end a line.
_VALUE: Final = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")
_METHOD: Final = re.compile(r"[A-Z]{1,16}")


@dataclass(frozen=True, slots=True)
class RequestParts:
    """The parts of a request a signature covers. A header that was not sent is the empty text.

    Attributes:
        method: upper case.
        target_uri: configured public origin, path and query.
        content_type: the header, always sent.
        content_digest: the header, always sent.
        rf_nonce: the header: the server's nonce.
        authorization: the header; None or empty under ``Tag.RENEW``, where it is not covered.
    """

    method: str
    target_uri: str
    content_type: str
    content_digest: str
    rf_nonce: str
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureParams:
    """What a signature says about itself.

    Attributes:
        created: seconds since 1970 by the host's clock; informational.
        nonce: base64 of 16 bytes, the host's; remembered by the gateway.
        keyid: thumbprint of the agent key.
        tag: the profile.
        text: the parameters exactly as written; covered by the signature.
    """

    created: int
    nonce: str
    keyid: str
    tag: Tag
    text: str


def content_digest(body: bytes) -> str:
    """Return the Content-Digest header of a body, empty or not (RFC 9530)."""
    return "sha-256=:" + base64_strict.encode(hashlib.sha256(body).digest()) + ":"


def check_content_digest(header: str, body: bytes) -> None:
    """Return when the header is the one digest of the body; call it before the body is parsed.

    Raises:
        RequestRefusedError: ``content_digest_form`` for another algorithm, several, or none; ``content_digest``.
    """
    if _DIGEST.fullmatch(header) is None:
        raise RequestRefusedError("content_digest_form", "Content-Digest is one sha-256")
    if not hmac.compare_digest(header, content_digest(body)):
        raise RequestRefusedError("content_digest", "the body is not the one the digest names")


def signature_base(parts: RequestParts, params_text: str) -> bytes:
    """Return the bytes a request signature covers (RFC 9421 2.5).

    Args:
        parts: of the request.
        params_text: the signature parameters from ``(`` on; their list says whether ``authorization`` is covered.

    Raises:
        RequestRefusedError: ``components`` for any other list, ``component_<name>`` for a missing or malformed part.
    """
    names = next((COMPONENTS[tag] for tag, text in _LIST.items() if params_text.startswith(text + ";")), None)
    if names is None:
        raise RequestRefusedError("components", "the covered components are not the ones of a profile")
    values = _values(parts)
    lines = [f'"{name}": {_checked(name, values[name])}' for name in names]
    lines.append(f'"@signature-params": {params_text}')
    return "\n".join(lines).encode("ascii")


def parse_signature(signature_input: str, signature: str) -> tuple[SignatureParams, bytes]:
    """Return what the two headers say: one signature, labelled ``rf``, of a known profile.

    Raises:
        RequestRefusedError: ``signature_missing``, ``signature_input_form``, ``components``, ``tag``, ``nonce_form``,
            ``signature_form``.
    """
    if not signature_input or not signature:
        raise RequestRefusedError("signature_missing", "Signature-Input and Signature are needed")
    if max(len(signature_input), len(signature)) > limits.SIGNATURE_HEADER_MAX_BYTES:
        raise RequestRefusedError("signature_input_form", "a signature header is too long")
    prefix = f"{LABEL}="
    match = _PARAMS.fullmatch(signature_input, len(prefix)) if signature_input.startswith(prefix) else None
    if match is None:
        raise RequestRefusedError("signature_input_form", "Signature-Input is not of the one profile")
    params = _read_params(match, signature_input[len(prefix) :])
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise RequestRefusedError("signature_form", f"Signature is one byte sequence labelled {LABEL}")
    try:
        return params, base64_strict.decode(found["sig"])
    except Base64RefusedError:
        raise RequestRefusedError("signature_form", "the signature is not strict base64") from None


def verify_request(
    parts: RequestParts, signature_input: str, signature: str, *, tag: Tag, key: PublicKey
) -> SignatureParams:
    """Return the parameters once the request is signed by ``key`` under ``tag``.

    Raises:
        RequestRefusedError: as ``parse_signature`` and ``signature_base``; ``tag`` for another profile than the call
            demands, ``keyid`` for another key's thumbprint, ``signature`` when it does not fit.
    """
    params, sig = parse_signature(signature_input, signature)
    if params.tag is not tag:
        raise RequestRefusedError("tag", f"signed as {params.tag} where {tag} is needed")
    if not hmac.compare_digest(params.keyid, key.thumbprint):
        raise RequestRefusedError("keyid", "signed with another key")
    try:
        key.verify(signature_base(parts, params.text), sig)
    except SignatureRefusedError as error:
        raise RequestRefusedError("signature", error.detail) from None
    return params


def sign_request(
    parts: RequestParts, *, signer: Callable[[bytes], bytes], keyid: str, created: int, nonce: str, tag: Tag
) -> tuple[str, str]:
    """Return the Signature-Input and Signature headers of a request.

    Args:
        parts: of the request.
        signer: gives the 64-byte Ed25519 signature over its argument.
        keyid: thumbprint of the agent key.
        created: seconds since 1970.
        nonce: standard base64 of 16 fresh random bytes.
        tag: the profile.

    Raises:
        RequestRefusedError: as ``verify_request`` would refuse the result for its form.
    """
    text = f'{_LIST[tag]};created={created};nonce="{nonce}";keyid="{keyid}";alg="ed25519";tag="{tag.value}"'
    match = _PARAMS.fullmatch(text)
    if match is None:
        raise RequestRefusedError("signature_input_form", "created, nonce or keyid is not of the one profile")
    _read_params(match, text)
    signature = signer(signature_base(parts, text))
    return f"{LABEL}={text}", f"{LABEL}=:{base64_strict.encode(signature)}:"


def _read_params(match: re.Match[str], text: str) -> SignatureParams:
    try:
        tag = Tag(match["tag"])
    except ValueError:
        raise RequestRefusedError("tag", "no such profile") from None
    if match["list"] != _LIST[tag]:
        raise RequestRefusedError("components", "the covered components are not the ones of the profile")
    try:
        if len(base64_strict.decode(match["nonce"])) != NONCE_BYTES:
            raise RequestRefusedError("nonce_form", f"a nonce is base64 of {NONCE_BYTES} bytes")
    except Base64RefusedError as error:
        raise RequestRefusedError("nonce_form", error.detail) from None
    return SignatureParams(int(match["created"]), match["nonce"], match["keyid"], tag, text)


def _values(parts: RequestParts) -> dict[str, str]:
    return {
        "@method": parts.method,
        "@target-uri": parts.target_uri,
        "content-digest": parts.content_digest,
        "content-type": parts.content_type,
        "authorization": parts.authorization or "",
        "rf-nonce": parts.rf_nonce,
    }


def _checked(name: str, value: str) -> str:
    form = {"@method": _METHOD, "content-digest": _DIGEST}.get(name, _VALUE)
    if len(value) > limits.COMPONENT_MAX_BYTES or form.fullmatch(value) is None:
        code = "component_" + name.removeprefix("@").replace("-", "_")
        raise RequestRefusedError(code, f"{name} is missing or malformed")
    return value
