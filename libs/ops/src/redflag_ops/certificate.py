"""What a certificate says of itself: subject, issuer, names, dates, fingerprint (RFC 5280). Reading only.

This is for words on logs and terminals, and for finding the name a server is to be called by. Whether a certificate
is trusted is decided by OpenSSL and nowhere else. Input may come from anybody: sizes are bounded, depth is fixed, and
whatever does not parse is one error.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

CERTIFICATE_MAX_BYTES = 64 * 1024
NAMES_MAX = 64  # alternative names read; a certificate with more is cut, not refused
TEXT_MAX_CHARS = 256  # of one name

_SEQUENCE, _SET, _OID, _OCTETS, _UTC_TIME, _TIME = 0x30, 0x31, 0x06, 0x04, 0x17, 0x18
_EXPLICIT_VERSION, _EXPLICIT_EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_LONG_FORM = 0x80
_CENTURY_TURN = 50  # two-digit years below it are of this century (RFC 5280 4.1.2.5.1)
_NAME_PARTS = {
    bytes.fromhex("550403"): "CN",
    bytes.fromhex("550406"): "C",
    bytes.fromhex("550407"): "L",
    bytes.fromhex("550408"): "ST",
    bytes.fromhex("55040a"): "O",
    bytes.fromhex("55040b"): "OU",
}
_PEM_BLOCK = re.compile(
    r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----", re.ASCII
)


class CertificateUnreadableError(ValueError):
    """The bytes are no certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.

    Attributes:
        subject: whom it is for, for example ``CN=updates.example.org``.
        issuer: who signed it, in the same form.
        dns_names: host names it is for.
        addresses: IP addresses it is for.
        not_before: when it begins to be valid.
        not_after: when it ends.
        sha256: its fingerprint in hexadecimal.
    """

    subject: str
    issuer: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        """All names and addresses it is for."""
        return self.dns_names + self.addresses

    def words(self) -> str:
        """Return it on one line for people."""
        named = ", ".join(self.names) or "no host"
        return (
            f"subject {self.subject or 'none'}, for {named}, issuer {self.issuer or 'none'}, "
            f"valid {self.not_before:%Y-%m-%d %H:%M} to {self.not_after:%Y-%m-%d %H:%M} UTC, SHA-256 {self.sha256}"
        )


def pem_blocks(text: str) -> list[bytes]:
    """Return the certificates of a PEM text as DER, in their order; what is not base64 is left out."""
    found = []
    for body in _PEM_BLOCK.findall(text):
        try:
            found.append(base64.b64decode("".join(body.split()), validate=True))
        except binascii.Error:
            continue
    return found


def read_certificate(der: bytes) -> Certificate:
    """Return what a certificate says.

    Args:
        der: its bytes.

    Raises:
        CertificateUnreadableError: it is none.
    """
    if len(der) > CERTIFICATE_MAX_BYTES:
        raise CertificateUnreadableError("it is too large")
    try:
        return _read(der)
    except (IndexError, ValueError, StopIteration) as error:
        raise CertificateUnreadableError("it is no X.509 certificate") from error


def _read(der: bytes) -> Certificate:
    outer = _only(der, _SEQUENCE)
    parts = list(_parts(_first(outer, _SEQUENCE)))
    if parts[0][0] == _EXPLICIT_VERSION:
        del parts[0]
    # serial number, signature algorithm, issuer, validity, subject, public key, extensions
    issuer, validity, subject = parts[2][1], parts[3][1], parts[4][1]
    not_before, not_after = (_time(tag, value) for tag, value in _parts(validity))
    dns_names, addresses = _alternative_names(parts[6:])
    return Certificate(
        subject=_name(subject),
        issuer=_name(issuer),
        dns_names=dns_names,
        addresses=addresses,
        not_before=not_before,
        not_after=not_after,
        sha256=hashlib.sha256(der).hexdigest(),
    )


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the tags and values that follow each other in a value."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & _LONG_FORM:
            size = length & ~_LONG_FORM
            if not 0 < size <= 3:  # noqa: PLR2004 - three bytes of length are more than CERTIFICATE_MAX_BYTES
                raise ValueError("length")
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + length]
        at += length


def _first(data: bytes, tag: int) -> bytes:
    found, value = next(_parts(data))
    if found != tag:
        raise ValueError("tag")
    return value


def _only(data: bytes, tag: int) -> bytes:
    ((found, value),) = _parts(data)
    if found != tag:
        raise ValueError("tag")
    return value


def _name(data: bytes) -> str:
    shown = []
    for _, relative in _parts(data):
        for _, pair in _parts(relative):
            (_, oid), (_, value) = _parts(pair)
            if oid in _NAME_PARTS:
                shown.append(f"{_NAME_PARTS[oid]}={_clean(value)}")
    return ", ".join(shown)


def _clean(value: bytes) -> str:
    text = value[: TEXT_MAX_CHARS * 4].decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() else "?" for sign in text[:TEXT_MAX_CHARS])


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        century = "20" if int(text[:2]) < _CENTURY_TURN else "19"
        text = century + text
    elif tag != _TIME:
        raise ValueError("time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _alternative_names(rest: list[tuple[int, bytes]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names: list[str] = []
    addresses: list[str] = []
    for tag, value in rest:
        if tag != _EXPLICIT_EXTENSIONS:
            continue
        for _, extension in _parts(_only(value, _SEQUENCE)):
            fields = list(_parts(extension))
            if fields[0] != (_OID, _ALTERNATIVE_NAMES) or fields[-1][0] != _OCTETS:
                continue
            for kind, text in list(_parts(_only(fields[-1][1], _SEQUENCE)))[:NAMES_MAX]:
                if kind == _DNS_NAME:
                    names.append(_clean(text))
                elif kind == _IP_ADDRESS:
                    addresses.append(str(ipaddress.ip_address(text)))
    return tuple(names), tuple(addresses)
