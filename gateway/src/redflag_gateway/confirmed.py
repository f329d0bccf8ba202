"""The highest report number PostgreSQL holds for an agent, as the dispatcher last said (docs/protocol.md 6).

Guarantees: bounded, the agent longest not heard of falls out first; what is unknown is None, which costs the agent
a resend and nothing else. The last word counts, not the highest, so that an agent whose numbers start again is not
held to an old one.
"""

from collections import OrderedDict
from uuid import UUID

CONFIRMED_MAX = 500_000  # agents, about 200 bytes each


class Confirmed:
    """Agent to confirmed ``rseq``.

    Args:
        limit: agents remembered.
    """

    def __init__(self, limit: int = CONFIRMED_MAX) -> None:
        self._limit = limit
        self._rseq: OrderedDict[UUID, int] = OrderedDict()

    def __len__(self) -> int:
        """Return how many agents are remembered."""
        return len(self._rseq)

    def note(self, agent: UUID, rseq: int) -> None:
        """Note what the dispatcher confirmed."""
        self._rseq[agent] = rseq
        self._rseq.move_to_end(agent)
        if len(self._rseq) > self._limit:
            self._rseq.popitem(last=False)

    def get(self, agent: UUID) -> int | None:
        """Return the confirmed number, or None where the gateway does not know it."""
        return self._rseq.get(agent)
