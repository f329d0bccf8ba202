"""Small facts on their way to the dispatcher, gathered into batches: who was seen, what was delivered.

Guarantees: bounded; when the bound is reached the oldest goes and is counted, because neither kind is needed for
correctness (reports are). Taking a batch empties it; what could not be sent may be put back.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from redflag_broker_config.subjects import shard_of
from redflag_wire.timestamps import format_timestamp

DELIVERED_MAX = 50_000  # deliveries that wait to be told
PRESENCE_MAX = 1_000_000  # agents seen since the last batch
BATCH_MAX = 5_000  # entries in one message, about 150 bytes each


@dataclass(frozen=True, slots=True)
class Delivered:
    """One command handed to an agent: its publish number tells which copy it was."""

    agent: UUID
    command: str
    number: int
    at: datetime

    def to_json(self) -> dict[str, object]:
        """Return the entry as it travels on ``rf.up.delivered.<n>``."""
        return {
            "agent": self.agent.hex,
            "cmd": self.command,
            "n": self.number,
            "at": format_timestamp(self.at),
        }


class DeliveredLog:
    """Deliveries that wait to be told, per shard."""

    def __init__(self, limit: int = DELIVERED_MAX) -> None:
        self._waiting: deque[Delivered] = deque(maxlen=limit)
        self.dropped = 0  # entries lost to the bound

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, entry: Delivered) -> None:
        """Add a delivery."""
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append(entry)

    def take(self) -> dict[int, list[Delivered]]:
        """Take up to ``BATCH_MAX`` of them, by shard."""
        batches: dict[int, list[Delivered]] = {}
        for _ in range(min(BATCH_MAX, len(self._waiting))):
            entry = self._waiting.popleft()
            batches.setdefault(shard_of(entry.agent), []).append(entry)
        return batches

    def put_back(self, entries: list[Delivered]) -> None:
        """Put back what could not be sent."""
        for entry in entries:
            self.add(entry)


class Presence:
    """Agents seen since the last batch, with the time of the last poll."""

    def __init__(self, limit: int = PRESENCE_MAX) -> None:
        self._limit = limit
        self._seen: dict[UUID, int] = {}

    def __len__(self) -> int:
        """Return how many agents were seen."""
        return len(self._seen)

    def note(self, agent: UUID, now: datetime) -> None:
        """Note that an agent was here."""
        if len(self._seen) < self._limit or agent in self._seen:
            self._seen[agent] = int(now.timestamp())

    def take(self) -> list[tuple[int, dict[str, int]]]:
        """Take all of them: per message the shard and agent to seconds since the epoch."""
        seen, self._seen = self._seen, {}
        shards: dict[int, list[dict[str, int]]] = {}
        for agent, at in seen.items():
            batches = shards.setdefault(shard_of(agent), [{}])
            if len(batches[-1]) >= BATCH_MAX:
                batches.append({})
            batches[-1][agent.hex] = at
        return [(shard, batch) for shard, batches in shards.items() for batch in batches]
