"""The dispatcher's settings, read once from the environment (prefix ``REDFLAG_``)."""

from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the dispatcher needs to know.

    Attributes:
        dispatcher_database_url: PostgreSQL, as the role ``redflag_dispatcher``.
        nats_url: the broker; several addresses with commas between them.
        dispatcher_nats_seed_file: file with the dispatcher's NKey seed.
        keys_dir: directory with ``command.key``, ``beacon.key`` and ``access.key``.
        fleet: this installation's id.
        root_fingerprint: hex fingerprint of the root keys of manifest version 1; without it the file
            ``manifest-1.json`` in ``keys_dir`` is the anchor.
        dispatcher_beacon_s: seconds between two signed beacons.
        dispatcher_access_token_s: life of an access token in seconds; at most a day (docs/protocol.md 8.2).
        dispatcher_reconcile_s: seconds between two rounds of the reconciler.
        dispatcher_replicas: servers that hold each stream; 3 in a cluster.
        ops_listen: where probes and metrics are served.
        ops_token_file: file with the bearer token for metrics, if they need one.
        log_format: ``json`` for machines, ``console`` for people.
    """

    model_config = SettingsConfigDict(env_prefix="REDFLAG_", extra="ignore")

    dispatcher_database_url: str
    nats_url: str
    dispatcher_nats_seed_file: Path
    keys_dir: Path
    fleet: UUID
    root_fingerprint: str | None = None
    dispatcher_beacon_s: float = Field(default=60, gt=0, le=3600)
    dispatcher_access_token_s: int = Field(default=3600, ge=60, le=86_400)
    dispatcher_reconcile_s: float = Field(default=30, gt=0, le=3600)
    dispatcher_replicas: int = Field(default=1, ge=1, le=5)
    ops_listen: str = "127.0.0.1:0"
    ops_token_file: Path | None = None
    log_format: Literal["json", "console"] = "json"
