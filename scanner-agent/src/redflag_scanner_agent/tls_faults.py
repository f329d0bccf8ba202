"""Why a server's certificate or its TLS is refused: a code for each reason, and what was seen and what was expected.

Once a certificate was refused it is fetched a second time only to be described. Nothing is sent over that second
connection, and nothing that it shows is believed.
"""

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

from redflag_ops.certificate import CertificateUnreadableError, pem_blocks, read_certificate

LOOK_DEADLINE_S: Final = 5.0

_CODES: Final = {
    9: ("tls_not_yet_valid", "it is not valid yet; is this host's clock right?"),
    10: ("tls_expired", "its time is over"),
    18: ("tls_untrusted", "it is signed by nobody but itself"),
    19: ("tls_untrusted", "its authority is not one that this host trusts"),
    20: ("tls_untrusted", "its authority is not one that this host trusts"),
    21: ("tls_untrusted", "its authority is not one that this host trusts"),
    62: ("tls_wrong_name", "it is for another name"),
    64: ("tls_wrong_name", "it is for another address"),
}
"""OpenSSL's numbers for what X.509 verification found."""

_NOT_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
)


def certificate_code(error: BaseException) -> tuple[str, str]:
    """Return the code of a refused certificate and why it is refused."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CODES.get(getattr(error, "verify_code", 0))
        if known is not None:
            return known
        return "tls_certificate", error.verify_message or "it does not hold"
    return "tls_certificate", str(error)


def handshake_code(error: ssl.SSLError) -> str:
    """Return the code of a handshake that failed for another reason than the certificate."""
    return "tls_not_spoken" if error.reason in _NOT_TLS else "tls_handshake"


async def refused(origin: str, why: str, expected: str) -> str:
    """Return on one line why a certificate is refused, what was seen, and what was expected.

    Args:
        origin: whose certificate it is.
        why: the reason.
        expected: the authorities that count.
    """
    parts = urlsplit(origin)
    host = parts.hostname or ""
    seen = await look(host, parts.port or 443)
    return (
        f"the certificate of {origin} is refused: {why}; seen: {seen}; "
        f"expected: a certificate for {host} from {expected}"
    )


async def look(host: str, port: int) -> str:
    """Return what the certificate shown there says of itself."""
    try:
        async with asyncio.timeout(2 * LOOK_DEADLINE_S):
            pem = await asyncio.to_thread(ssl.get_server_certificate, (host, port), timeout=LOOK_DEADLINE_S)
        return read_certificate(pem_blocks(pem)[0]).words()
    except (OSError, ValueError, IndexError, TimeoutError, CertificateUnreadableError) as error:
        return f"nothing that can be read ({type(error).__name__})"
