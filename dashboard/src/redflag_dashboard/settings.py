"""The dashboard's settings, read from the environment with the prefix `REDFLAG_`."""

from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the program needs to know.

    Attributes:
        dashboard_listen: host:port of the API.
        dashboard_database_url: postgresql://..., of the dashboard's role.
        intent_key_file: the key that signs intents.
        fleet: this installation.
        dashboard_tls_cert: certificate and chain; with `dashboard_tls_key` the API speaks TLS.
        dashboard_tls_key: its key.
        dashboard_behind_proxy: a proxy in front ends TLS, and nobody else reaches the listener.
        gateway_origin: where hosts reach the gateway; stands in the line that installs an agent.
        gateway_ca_file: the authority hosts need for it, where they do not know it anyway; stands in that line too.
        dashboard_pool_size: connections to the database.
        ops_listen: host:port of probes and metrics.
        ops_token_file: bearer token of the ops listener, if any.
        log_format: json or console.
    """

    model_config = SettingsConfigDict(env_prefix="REDFLAG_", extra="ignore", env_ignore_empty=True)

    dashboard_listen: str = "127.0.0.1:7481"
    dashboard_database_url: str
    intent_key_file: Path
    fleet: UUID
    gateway_origin: str
    gateway_ca_file: Path | None = None
    dashboard_tls_cert: Path | None = None
    dashboard_tls_key: Path | None = None
    dashboard_behind_proxy: bool = False
    dashboard_pool_size: int = Field(default=10, ge=2, le=100)
    ops_listen: str = "127.0.0.1:0"
    ops_token_file: Path | None = None
    log_format: Literal["json", "console"] = "json"

    @field_validator("gateway_origin")
    @classmethod
    def _is_origin(cls, value: str) -> str:
        scheme, _, rest = value.rstrip("/").partition("://")
        if scheme not in ("http", "https") or not rest or any(sign in rest for sign in "/?#@ "):
            raise ValueError("write it as https://gateway.example.org, without a path")
        return value.rstrip("/")
