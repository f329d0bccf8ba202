"""Whose certificates this host takes for its server's: the system's authorities, or those of one file and no other.

Guarantees: every connection is verified, and nothing here can turn that off; a file given once is used again by later
starts; a file that changed is taken over when a certificate was refused, and a damaged one never replaces a good one.
"""

import base64
import binascii
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from redflag_ops.certificate import (
    CERTIFICATE_MAX_BYTES,
    CertificateUnreadableError,
    pem_blocks,
    read_certificate,
)
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger
from redflag_scanner_agent.durable import DurableDirectory

CA_TEXT_MAX_CHARS: Final = 2 * CERTIFICATE_MAX_BYTES
KEPT_PATH: Final = "ca-file"  # in the network process's directory: the path of the file given last
KEPT_COPY: Final = "ca.pem"  # there too: the certificate given as text
_NAMED_COPY: Final = "."  # what KEPT_PATH holds when the copy is meant

log = get_logger()


class ServerTrust:
    """The authorities that count.

    Args:
        where: what they are, for people.
        read: gives the PEM text again; None for the system's authorities.

    Raises:
        ConfigurationError: the text holds no certificate.
    """

    def __init__(self, where: str, read: Callable[[], bytes] | None = None) -> None:
        self.where = where
        self._read = read
        self._pem = None if read is None else read()
        self._context: ssl.SSLContext | None = None if self._pem is None else _context(self._pem, where)

    @property
    def context(self) -> ssl.SSLContext:
        """What verifies the server: its chain, its dates and its name; TLS 1.2 or newer."""
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._context

    def refresh(self) -> bool:
        """Take over what changed; say whether something did."""
        if self._read is None:
            return False
        try:
            pem = self._read()
            if pem == self._pem:
                return False
            self._context = _context(pem, self.where)
        except (ConfigurationError, OSError) as error:
            log.warning("ca.not_taken_over", reason=str(error))
            return False
        self._pem = pem
        log.info("ca.taken_over", where=self.where)
        return True


def trust_of(files: DurableDirectory, ca: Path | None, ca_text: str | None = None) -> ServerTrust:
    """Return what is to be trusted, and keep what was given for later starts.

    Args:
        files: the network process's own directory.
        ca: file of authorities in PEM form; None for the one given before.
        ca_text: authorities as base64 of their DER form, joined with commas, as the install line has them.

    Raises:
        ConfigurationError: what was given cannot be used.
        NotDurableError: it cannot be kept.
    """
    if ca_text is not None:
        pem = _pem_of(ca_text)
        _context(pem, "--ca-text")
        files.write(KEPT_COPY, pem)
        files.write(KEPT_PATH, _NAMED_COPY.encode())
    elif ca is not None:
        trust = _of_file(ca)
        if files.read(KEPT_PATH) != str(ca).encode():
            files.write(KEPT_PATH, str(ca).encode())
        return trust
    kept = (files.read(KEPT_PATH) or b"").decode("utf-8", "replace")
    if kept == _NAMED_COPY:
        return ServerTrust(f"the authority in {files.path / KEPT_COPY}", lambda: files.read(KEPT_COPY) or b"")
    return _of_file(Path(kept)) if kept else ServerTrust("this system's authorities")


def _of_file(path: Path) -> ServerTrust:
    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(CERTIFICATE_MAX_BYTES)
        except OSError as error:
            raise ConfigurationError(f"--ca: cannot read {path}: {error.strerror}") from None

    return ServerTrust(f"the authorities in {path}", read)


def _context(pem: bytes, where: str) -> ssl.SSLContext:
    blocks = pem_blocks(pem.decode("ascii", "replace"))
    try:
        for block in blocks:
            read_certificate(block)
        context = ssl.create_default_context(cadata=b"".join(blocks))
    except (ssl.SSLError, ValueError):
        blocks = []
    if not blocks:
        raise ConfigurationError(f"{where}: no certificate in PEM form is in it")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _pem_of(text: str) -> bytes:
    try:
        parts = text.strip().split(",") if len(text) <= CA_TEXT_MAX_CHARS else [""]
        ders = [base64.b64decode(part, validate=True) for part in parts]
        for der in ders:
            read_certificate(der)
    except (binascii.Error, CertificateUnreadableError):
        raise ConfigurationError("--ca-text is no certificate; copy the install line whole") from None
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in ders).encode()
