"""What the API is made of: the ports its handlers reach the outside through, handed in by `main` or a test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from redflag_dashboard.changes import Changes
from redflag_dashboard.metrics import Metrics
from redflag_wire.clock import Clock
from redflag_wire.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports.

    Attributes:
        sessions: makes database sessions.
        clock: server time.
        random: secret random bytes.
        intent_key: signs what operators ask for (docs/protocol.md 6).
        fleet: this installation.
        gateway_origin: where hosts reach the gateway, for the line that installs an agent.
        gateway_ca_file: authority that hosts need for it, for the same line; None where they know it.
        changes: tells waiting requests that a command moved.
        metrics: counters of this program.
        version: of this program.
    """

    sessions: async_sessionmaker[AsyncSession]
    clock: Clock
    random: Callable[[int], bytes]
    intent_key: SigningKey
    fleet: UUID
    gateway_origin: str
    changes: Changes
    metrics: Metrics
    version: str
    gateway_ca_file: Path | None = None
