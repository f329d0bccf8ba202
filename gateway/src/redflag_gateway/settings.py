"""The gateway's settings, read from the environment (prefix ``REDFLAG_``)."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from redflag_ops.errors import ConfigurationError
from redflag_ops.settings import parse_listen

NEXT_POLL_MIN_S = 1
NEXT_POLL_MAX_S = 24 * 3600


def _address(text: str) -> str:
    try:
        parse_listen(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return text


def _origin(text: str) -> str:
    parts = urlsplit(text)
    bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not bare:
        raise ValueError("write it as https://updates.example.org, without a path")
    return f"{parts.scheme}://{parts.netloc}"


def _fingerprint(text: str) -> str:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise ValueError("write it in hexadecimal") from None
    if len(raw) != 32:  # noqa: PLR2004 - the length of a SHA-256
        raise ValueError("a root fingerprint has 32 bytes")
    return text


class Settings(BaseSettings):
    """What the gateway has to be told.

    Attributes:
        gateway_listen: host:port agents connect to.
        gateway_origin: public origin as agents write it; signatures cover it.
        nats_url: address of the broker.
        gateway_nats_seed_file: NKey seed of the gateway's user.
        gateway_hmac_file: the key all gateways share, in hexadecimal, at least 32 bytes.
        root_fingerprint: fingerprint of the first manifest's root set, in hexadecimal.
        fleet: this installation's id.
        gateway_tls_cert: certificate and chain (PEM); with `gateway_tls_key` the gateway speaks TLS.
        gateway_tls_key: its key (PEM), without a password.
        gateway_behind_proxy: a proxy in front ends TLS, and nobody else reaches the listener: plain http is served
            beyond loopback, the proxy's own address has no bound, and a peer is named by the last entry of
            X-Forwarded-For, which the proxy writes.
        gateway_connections_max: connections at a time; by default what the limit on open files leaves.
        gateway_unproven_per_address: connections of one address (IPv6: one /64) that have not shown a valid
            signature yet; 32 by default, and without bound for loopback; a number given holds for every address.
        gateway_agent_rate: signed requests per second one agent may make for ever.
        gateway_agent_burst: and at once.
        gateway_next_poll_s: seconds after which an agent in normal mode polls again.
        ops_listen: host:port of probes and metrics.
        ops_token_file: bearer token for metrics, if any.
        log_format: json for machines, console for people.
    """

    model_config = SettingsConfigDict(
        env_prefix="REDFLAG_", extra="ignore", frozen=True, env_ignore_empty=True
    )

    gateway_listen: Annotated[str, AfterValidator(_address)]
    gateway_origin: Annotated[str, AfterValidator(_origin)]
    nats_url: str = Field(min_length=1)
    gateway_nats_seed_file: Path
    gateway_hmac_file: Path
    root_fingerprint: Annotated[str, AfterValidator(_fingerprint)]
    fleet: str = Field(min_length=1, max_length=64)
    gateway_tls_cert: Path | None = None
    gateway_tls_key: Path | None = None
    gateway_behind_proxy: bool = False
    gateway_connections_max: int | None = Field(default=None, ge=1, le=1_000_000)
    gateway_unproven_per_address: int | None = Field(default=None, ge=1, le=1_000_000)
    gateway_agent_rate: float = Field(default=5.0, gt=0, le=10_000)
    gateway_agent_burst: int = Field(default=60, ge=1, le=100_000)
    gateway_next_poll_s: int = Field(default=300, ge=NEXT_POLL_MIN_S, le=NEXT_POLL_MAX_S)
    ops_listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:0"
    ops_token_file: Path | None = None
    log_format: Literal["json", "console"] = "json"
