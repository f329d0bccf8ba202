"""TLS of a program that serves: a certificate and a key from files, taken over anew when the files change.

Guarantees: TLS 1.2 or newer; a program does not start with a pair that cannot work, and says which file is wrong and
why; once it serves, a bad new pair never takes the place of a good one: the old one goes on, and the fault is logged
once, shown as a metric and looked at again every few seconds until it is gone. Connections that stand keep what they
were made with. Plain http is served to this machine alone, unless a setting says that a proxy stands in front.
"""

import asyncio
import ipaddress
import os
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from redflag_ops.certificate import Certificate, CertificateUnreadableError, pem_blocks, read_certificate
from redflag_ops.errors import ConfigurationError
from redflag_ops.logging import get_logger

LOOK_EVERY_S: Final = 3.0  # seconds between two looks at the files
FILE_MAX_BYTES: Final = 1024 * 1024
WARN_BEFORE: Final = timedelta(days=14)  # the log speaks of the end that is near
WARN_EVERY: Final = timedelta(days=1)
HANDSHAKE_S: Final = 10.0  # what a peer gets for its handshake
SHUTDOWN_S: Final = 5.0  # and for closing TLS

Now = Callable[[], datetime]
_Mark = tuple[tuple[int, int, int, int], ...]


class ServerTls:
    """A certificate with its key, kept fresh.

    Args:
        certificate: PEM file with the certificate and the chain above it.
        key: PEM file with its key, without a password.
        setting: how the settings begin, for example ``REDFLAG_GATEWAY_TLS``; errors name ``..._CERT`` and ``..._KEY``.
        now: the time, with its zone.

    Raises:
        ConfigurationError: a file is missing or damaged, the two do not belong together, the key has a password, or
            the certificate is not valid now.
    """

    def __init__(self, certificate: Path, key: Path, *, setting: str, now: Now) -> None:
        self._certificate, self._key, self._setting, self._now = certificate, key, setting, now
        self._mark = self._look()
        self._current, self.shown = self._load()
        self.fault: str | None = None
        self.context = self._front()
        self._warned: datetime | None = None
        self._log = get_logger()

    def watch_metrics(self, registry: CollectorRegistry, program: str) -> None:
        """Show the certificate's end, and whether a new pair is refused."""
        end = Gauge(
            f"redflag_{program}_tls_not_after_seconds",
            "End of the served certificate, seconds since 1970",
            registry=registry,
        )
        end.set_function(lambda: self.shown.not_after.timestamp())  # noqa: PLW0108 - `shown` changes
        refused = Gauge(
            f"redflag_{program}_tls_reload_refused",
            "1 while the files hold a pair that cannot be served",
            registry=registry,
        )
        refused.set_function(lambda: float(self.fault is not None))

    async def watch(self, stop: asyncio.Event) -> None:
        """Look at the files every few seconds until ``stop`` is set."""
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
            except TimeoutError:
                self.refresh()

    def refresh(self) -> bool:
        """Take a changed pair over; say whether one was taken."""
        self._warn_of_end()
        mark = self._look()
        if mark == self._mark and self.fault is None:
            return False
        try:
            current, shown = self._load()
        except ConfigurationError as error:
            self._mark = mark
            if str(error) != self.fault:
                self._log.error("tls.reload_refused", reason=str(error), serving=self.shown.words())
            self.fault = str(error)
            return False
        self._mark, self._current, self.shown, self.fault, self._warned = mark, current, shown, None, None
        self._log.info("tls.reloaded", certificate=shown.words())
        return True

    def _front(self) -> ssl.SSLContext:
        # Listeners keep the context they were given; this one hands every handshake on to the newest.
        front = self._current

        def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._current

        front.sni_callback = choose
        return front

    def _warn_of_end(self) -> None:
        now = self._now()
        if self.shown.not_after - now > WARN_BEFORE or (self._warned and now - self._warned < WARN_EVERY):
            return
        self._warned = now
        self._log.warning("tls.certificate_ends", certificate=self.shown.words())

    def _look(self) -> _Mark:
        marks = []
        for path in (self._certificate, self._key):
            try:
                found = path.stat()
            except OSError:
                marks.append((0, 0, 0, 0))
            else:
                marks.append((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        return tuple(marks)

    def _load(self) -> tuple[ssl.SSLContext, Certificate]:
        cert_setting, key_setting = f"{self._setting}_CERT", f"{self._setting}_KEY"
        blocks = pem_blocks(_read(self._certificate, cert_setting))
        if not blocks:
            raise ConfigurationError(f"{cert_setting}: {self._certificate} holds no certificate in PEM form")
        try:
            shown = read_certificate(blocks[0])
        except CertificateUnreadableError as error:
            raise ConfigurationError(f"{cert_setting}: {self._certificate}: {error}") from None
        now = self._now()
        if shown.not_after <= now:
            raise ConfigurationError(
                f"{cert_setting}: the certificate in {self._certificate} expired on "
                f"{shown.not_after:%Y-%m-%d %H:%M} UTC; renew it"
            )
        if shown.not_before > now:
            raise ConfigurationError(
                f"{cert_setting}: the certificate in {self._certificate} is not valid before "
                f"{shown.not_before:%Y-%m-%d %H:%M} UTC; is this machine's clock right?"
            )
        _read(self._key, key_setting)
        return _context(self._certificate, self._key, cert_setting, key_setting), shown


def _context(certificate: Path, key: Path, cert_setting: str, key_setting: str) -> ssl.SSLContext:
    asked_for_password = False

    def password() -> str:
        nonlocal asked_for_password
        asked_for_password = True
        return ""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password)
    except (ssl.SSLError, OSError) as error:
        if asked_for_password:
            reason = f"{key_setting}: the key in {key} has a password; give a key without one"
        elif getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            reason = f"{key_setting}: the key in {key} is not that of the certificate in {certificate}"
        else:
            reason = f"{key_setting}: {key} holds no usable key for {certificate} (see {cert_setting})"
        raise ConfigurationError(reason) from None
    return context


def _read(path: Path, setting: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot read {path}: {os.strerror(error.errno or 0)}") from None
    if len(data) > FILE_MAX_BYTES:
        raise ConfigurationError(f"{setting}: {path} is too large")
    return data.decode("ascii", "replace")


def tls_of(certificate: Path | None, key: Path | None, *, setting: str, now: Now) -> ServerTls | None:
    """Return the TLS of two settings that belong together; None where neither is set.

    Raises:
        ConfigurationError: one is set without the other, or the files are not usable.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "_CERT" if certificate is None else "_KEY"
        raise ConfigurationError(f"{setting}{missing} is missing: certificate and key go together")
    return ServerTls(certificate, key, setting=setting, now=now)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine and no other."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listener(host: str, tls: ServerTls | None, *, behind_proxy: bool, setting: str) -> None:
    """Refuse plain http beyond this machine, unless a proxy in front was announced.

    Args:
        host: to listen on.
        tls: what is served, None for plain http.
        behind_proxy: TLS ends at a proxy in front, and nobody else reaches this listener.
        setting: how the program's settings begin, for example ``REDFLAG_GATEWAY``.

    Raises:
        ConfigurationError: it would show everything to the network.
    """
    if tls is None and not behind_proxy and not is_loopback(host):
        raise ConfigurationError(
            f"{setting}_LISTEN: plain http is served on 127.0.0.1, ::1 and localhost only; set {setting}_TLS_CERT and "
            f"{setting}_TLS_KEY, or {setting}_BEHIND_PROXY=1 where a proxy ends TLS and nobody else gets here"
        )
