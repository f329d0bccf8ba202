"""The agent's settings, from the environment (prefix `REDFLAG_AGENT_`)."""

import ipaddress
import logging
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from redflag_ops.errors import ConfigurationError

_PORT_OF = {"https": 443, "http": 80}
_SPELLING = "the address is written as https://redflag.example.org or https://redflag.example.org:7480"

LOG_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}
"""What the standard `logging` module calls the levels of `log_level`."""


class AgentSettings(BaseSettings):
    """What the agent can be told.

    Attributes:
        server: the gateway's public origin; https, or http to this very host only.
        ca: file of the authorities that count for the server, instead of the system's; kept for later starts.
        state_dir: holds `net` (the network process's) and `helper` (the helper's).
        token_file: an enrolment token, used by `run` when the host has no identity.
        apt_config: an APT_CONFIG file of a private apt root, for tests; None for the host itself.
        fast: long polls back to back instead of one poll every few minutes.
        account: whose rights the network process takes when started as root.
        policy_file: the host administrator's own word.
        log_format: `json` for machines, `console` for people; `run` only, the other commands are for people.
        log_level: the lowest level `run` logs.
    """

    model_config = SettingsConfigDict(env_prefix="REDFLAG_AGENT_", extra="ignore")

    server: str | None = None
    ca: Path | None = None
    state_dir: Path = Path("/var/lib/redflag-agent")
    token_file: Path | None = None
    apt_config: Path | None = None
    fast: bool = False
    account: str | None = Field(default=None, max_length=64)
    policy_file: Path = Path("/etc/redflag/policy.toml")
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["info", "warning"] = "info"

    def for_people(self) -> Self:
        """Return the settings with which a person who waits for the end reads only what matters."""
        return self.model_copy(update={"log_format": "console", "log_level": "warning"})

    @field_validator("server")
    @classmethod
    def _origin(cls, server: str | None) -> str | None:
        try:
            return None if server is None else parse_origin(server)
        except ValueError as error:
            # An error of this kind is shown as it stands, without pydantic's own words before it.
            raise PydanticCustomError("origin", "{reason}", {"reason": str(error)}) from None

    @field_validator("ca", "state_dir", "token_file", "apt_config", "policy_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # The helper runs in another directory than whoever wrote the setting.
        return None if path is None else path.absolute()

    @property
    def net_dir(self) -> Path:
        """The network process's own directory."""
        return self.state_dir / "net"

    @property
    def helper_dir(self) -> Path:
        """The helper's own directory."""
        return self.state_dir / "helper"

    def need_server(self) -> str:
        """Return the server's origin.

        Raises:
            ConfigurationError: it is not set.
        """
        if self.server is None:
            raise ConfigurationError(
                "REDFLAG_AGENT_SERVER is not set; write it as https://redflag.example.org"
            )
        return self.server


def parse_origin(text: str) -> str:
    """Return an origin in its one spelling: scheme, host, and the port if it is not the scheme's own.

    Raises:
        ValueError: not an origin, or http to another host: commands are signed, but what is installed here is
            nobody else's business.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_SPELLING) from None
    if (
        parts.scheme not in _PORT_OF
        or not host
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
    ):
        raise ValueError(_SPELLING)
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address holds no user name or password")
    if parts.scheme == "http" and not _loopback(host):
        raise ValueError("http is for 127.0.0.1, ::1 and localhost only; use https")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in {None, _PORT_OF[parts.scheme]} else f":{port}")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
