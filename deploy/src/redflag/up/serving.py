"""Where hosts and operators reach this RedFlag: addresses, certificate, and the name others call it by.

Guarantees: nothing but loopback is listened on without TLS, or a proxy that was announced to end it; what would not
work for the first host that joins (a wrong name, an authority nobody knows) is refused before anything starts, by the
very check that host would make. The options are kept for later starts; when one of them is given again, all that are
given take the place of all that were kept.
"""

import ipaddress
import json
import ssl
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redflag.keys.durable_file import write_durable
from redflag.up.errors import SettingError
from redflag.up.options import ServingOptions
from redflag.up.ports import LOOPBACK, PORT_MAX
from redflag_ops.certificate import Certificate, pem_blocks
from redflag_ops.errors import ConfigurationError
from redflag_ops.tls import ServerTls, is_loopback

FILE_MAX_BYTES: Final = 64 * 1024
_HANDSHAKE_STEPS: Final = 6  # more than any version of TLS needs


@dataclass(frozen=True)
class Address:
    """What to listen on.

    Attributes:
        host: an address of this machine; 0.0.0.0 and :: are all of them.
        port: None for the one kept or the default.
    """

    host: str
    port: int | None = None


@dataclass(frozen=True)
class Serving:
    """How this RedFlag is reached.

    Attributes:
        gateway: what the gateway listens on.
        api: what the API listens on.
        cert: certificate file; None without TLS.
        key: its key.
        ca: file of the authority that hosts need; None where every system knows it.
        public_url: the address hosts write; None for loopback.
        public_host: the name in it.
        behind_proxy: a proxy in front ends TLS.
    """

    gateway: Address
    api: Address
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    public_url: str | None = None
    public_host: str = LOOPBACK
    behind_proxy: bool = False

    def gateway_url(self, port: int) -> str:
        """Return the gateway's origin as hosts write it; signatures cover it."""
        if self.public_url is not None:
            return self.public_url
        return _origin(self.cert is not None, self.public_host, port)

    def api_url(self, port: int) -> str:
        """Return the API's address as the command line on this machine uses it."""
        if not self.api_has_tls:
            host = LOOPBACK if _is_any(self.api.host) else self.api.host
            return _origin(False, host, port)
        return _origin(True, self.public_host, port)

    @property
    def api_has_tls(self) -> bool:
        """Whether the API speaks TLS: wherever it may be reached from elsewhere."""
        return self.cert is not None and not is_loopback(self.api.host)


def settle(asked: ServingOptions, kept_file: Path) -> ServingOptions:
    """Return what counts for this start.

    Raises:
        SettingError: what was kept cannot be read.
    """
    if asked != ServingOptions():
        return asked
    try:
        with kept_file.open("rb") as file:
            found = json.loads(file.read(FILE_MAX_BYTES))
        known = {field.name for field in fields(ServingOptions)}
        chosen = {name: value for name, value in found.items() if name in known and value is not None}
        for name in ("tls_cert", "tls_key", "tls_ca"):
            if name in chosen:
                chosen[name] = Path(chosen[name])
        return ServingOptions(**chosen)
    except FileNotFoundError:
        return asked
    except (OSError, ValueError, TypeError, AttributeError):
        raise SettingError(
            f"{kept_file} cannot be read: give --listen and what goes with it again (--listen {LOOPBACK} for this "
            "machine alone)"
        ) from None


def keep(options: ServingOptions, kept_file: Path) -> None:
    """Keep the options for later starts.

    Raises:
        OSError: they cannot be written.
    """
    shown = {
        name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()
    }
    data = json.dumps(shown, indent=2).encode() + b"\n"
    try:
        if kept_file.read_bytes() == data:
            return
    except FileNotFoundError:
        if options == ServingOptions():
            return
    write_durable(kept_file, data)


def serving_of(options: ServingOptions, now: Callable[[], datetime]) -> Serving:
    """Return how RedFlag is reached.

    Raises:
        SettingError: an option is wrong, or hosts could not join this way; the text says which and what to do.
    """
    gateway = parse_address(options.listen or LOOPBACK, "--listen")
    api = parse_address(options.api_listen or LOOPBACK, "--api-listen")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise SettingError("--tls-cert and --tls-key go together: give both")
    tls = _tls(options, now)
    if tls is None:
        _refuse_plain(options, gateway, api)
    if tls is not None and options.behind_proxy:
        raise SettingError("--behind-proxy means that a proxy ends TLS: leave --tls-cert and --tls-key out")
    if options.tls_ca is not None and tls is None and not options.behind_proxy:
        raise SettingError("--tls-ca goes with --tls-cert and --tls-key")
    public_url, public_host = _public(options, None if tls is None else tls.shown)
    if tls is not None:
        _try_as_a_host(tls, public_host, options.tls_ca)
    elif options.tls_ca is not None:
        _authority(options.tls_ca)
    return Serving(
        gateway=gateway,
        api=api,
        cert=options.tls_cert,
        key=options.tls_key,
        ca=options.tls_ca,
        public_url=public_url,
        public_host=public_host,
        behind_proxy=options.behind_proxy,
    )


def parse_address(text: str, option: str) -> Address:
    """Return the address of ``ADDRESS[:PORT]``; an IPv6 address with a port stands in brackets.

    Raises:
        SettingError: it is none.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        wrong = "]" not in text or (bool(port) and not port.startswith(":")) or port == ":"
        port = port.removeprefix(":")
    else:
        wrong = False
        if text.count(":") == 1:
            host, _, port = text.partition(":")
            wrong = not port
    known = host == "localhost" or _is_address(host)
    if wrong or not known or (port and not (port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX)):
        raise SettingError(
            f"{option} {text} is no address of this machine; write for example 0.0.0.0, 192.0.2.7:7480 or [::]:7480"
        )
    return Address(host, int(port) if port else None)


def _tls(options: ServingOptions, now: Callable[[], datetime]) -> ServerTls | None:
    if options.tls_cert is None or options.tls_key is None:
        return None
    try:
        return ServerTls(options.tls_cert, options.tls_key, setting="--tls", now=now)
    except ConfigurationError as error:
        # The same words as a program's, with our options in the place of its settings.
        raise SettingError(
            str(error).replace("--tls_CERT", "--tls-cert").replace("--tls_KEY", "--tls-key")
        ) from None


def _refuse_plain(options: ServingOptions, gateway: Address, api: Address) -> None:
    for option, address in (("--listen", gateway), ("--api-listen", api)):
        if not is_loopback(address.host) and not options.behind_proxy:
            raise SettingError(
                f"{option} {address.host}: beyond this machine RedFlag is reached over TLS only; add --tls-cert FILE "
                "and --tls-key FILE, or --behind-proxy where a proxy ends TLS and nobody else gets here"
            )
    if options.behind_proxy and options.public_url is None:
        raise SettingError("--behind-proxy needs --public-url https://NAME, the address that hosts write")


def _public(options: ServingOptions, shown: Certificate | None) -> tuple[str | None, str]:
    if options.public_url is not None:
        parts = urlsplit(options.public_url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        bare = parts.path in {"", "/"} and not (
            parts.query or parts.fragment or parts.username or parts.password
        )
        if parts.scheme != "https" or not host or not bare:
            raise SettingError(
                f"--public-url {options.public_url}: write it as https://redflag.example.org[:PORT]"
            )
        if shown is None and not options.behind_proxy:
            raise SettingError("--public-url goes with --tls-cert and --tls-key, or with --behind-proxy")
        # Without a port it is the scheme's own: what stands there is what hosts write.
        return _origin(True, host, port), host
    if shown is None:
        return None, LOOPBACK
    if not shown.names:
        raise SettingError(
            "the certificate names no host: it needs a subjectAltName such as DNS:redflag.example.org, a common name "
            "alone is not looked at; have it signed again with one"
        )
    usable = [name for name in shown.names if "*" not in name]
    if not usable:
        raise SettingError(
            f"the certificate is for {', '.join(shown.names)}: give the name hosts are to call with "
            "--public-url https://NAME[:PORT]"
        )
    return None, usable[0]


def _try_as_a_host(tls: ServerTls, host: str, ca: Path | None) -> None:
    """Shake hands in memory as the agent of a host will do over the network."""
    client = ssl.create_default_context() if ca is None else _authority(ca)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = tls.context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(_HANDSHAKE_STEPS):
            for side in (ours, theirs):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in {62, 64}:  # OpenSSL's numbers for a wrong name and a wrong address
            named = ", ".join(tls.shown.names) or "no host"
            raise SettingError(
                f"the certificate is for {named} and not for {host}; give --public-url https://NAME with such a name"
            ) from None
        known = "this system's authorities do" if ca is None else f"{ca} does"
        raise SettingError(
            f"hosts would refuse the certificate: {known} not vouch for it ({error.verify_message}); "
            "give the authority that signed it with --tls-ca FILE, and the chain up to it in the certificate's file"
        ) from None
    except ssl.SSLError as error:
        raise SettingError(f"--tls-cert: no handshake comes about ({error.reason})") from None


def _authority(ca: Path) -> ssl.SSLContext:
    try:
        with ca.open("rb") as file:
            blocks = pem_blocks(file.read(FILE_MAX_BYTES).decode("ascii", "replace"))
        if blocks:
            return ssl.create_default_context(cadata=b"".join(blocks))
    except OSError as error:
        raise SettingError(f"--tls-ca: cannot read {ca}: {error.strerror}") from None
    except ssl.SSLError:
        pass
    raise SettingError(f"--tls-ca: {ca} holds no certificate in PEM form")


def _origin(tls: bool, host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    scheme, usual = ("https", 443) if tls else ("http", 80)
    return f"{scheme}://{shown}" + ("" if port in {None, usual} else f":{port}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_any(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
