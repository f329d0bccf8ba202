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
        gateway_next_poll_s: seconds after which an agent in normal mode polls again.
        ops_listen: host:port of probes and metrics.
        ops_token_file: bearer token for metrics, if any.
        log_format: json for machines, console for people.
    """

    model_config = SettingsConfigDict(env_prefix="REDFLAG_", extra="ignore", frozen=True)

    gateway_listen: Annotated[str, AfterValidator(_address)]
    gateway_origin: Annotated[str, AfterValidator(_origin)]
    nats_url: str = Field(min_length=1)
    gateway_nats_seed_file: Path
    gateway_hmac_file: Path
    root_fingerprint: Annotated[str, AfterValidator(_fingerprint)]
    fleet: str = Field(min_length=1, max_length=64)
    gateway_next_poll_s: int = Field(default=300, ge=NEXT_POLL_MIN_S, le=NEXT_POLL_MAX_S)
    ops_listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:0"
    ops_token_file: Path | None = None
    log_format: Literal["json", "console"] = "json"
