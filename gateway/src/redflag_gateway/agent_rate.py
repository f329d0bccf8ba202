"""How often one agent may ask: a token bucket per agent, in this process's memory. Arithmetic only.

Who could be locked out by whom? The bucket is looked at once the access token is known and before anything is verified
that costs time, so an agent that asks too often is turned away cheaply. It is *filled* only by requests whose signature
was valid. Nobody but the holder of an agent's key can therefore use its bucket up: not somebody who claims its id (the
id comes out of a token that our own dispatcher signed), and not somebody who stole the token (what he sends is refused
at the signature and costs the agent nothing). What a thief's attempts cost us is bounded elsewhere: a refused signature
ends its connection, and connections without a valid signature are counted per address (`doorkeeper`).

The bucket is kept as one number per agent, the moment at which it will be empty again (GCRA). An agent whose moment has
passed is the same as one that was never here, so forgetting it is free of consequences and the memory stays bounded.
"""

import math
from typing import Final
from uuid import UUID

REMEMBERED_MAX: Final = 200_000  # agents with something in their bucket, about 150 bytes each
ROUNDING_S: Final = 1e-6  # what sums of floating numbers may be off by
SWEEP_EVERY: Final = 10_000  # requests between two sweeps


class AgentRates:
    """Buckets of all agents.

    Args:
        rate: requests per second that go on for ever.
        burst: requests that may come at once.
        remembered_max: agents remembered; beyond it the others' requests are not counted.
    """

    def __init__(self, rate: float, burst: int, remembered_max: int = REMEMBERED_MAX) -> None:
        self._step = 1.0 / rate
        self._room = burst * self._step
        self._remembered_max = remembered_max
        self._empty_at: dict[UUID, float] = {}
        self._spent = 0

    def __len__(self) -> int:
        """Return how many agents are remembered."""
        return len(self._empty_at)

    def wait_s(self, agent: UUID, now: float) -> int:
        """Return 0 when the agent may ask, else the whole seconds after which it may.

        Args:
            agent: who asks.
            now: monotonic seconds.
        """
        over = max(self._empty_at.get(agent, now), now) + self._step - now - self._room
        return 0 if over <= ROUNDING_S else max(1, math.ceil(over))

    def spend(self, agent: UUID, now: float) -> None:
        """Count a request whose signature was valid."""
        self._spent += 1
        if self._spent >= SWEEP_EVERY:
            self._spent = 0
            self._empty_at = {one: at for one, at in self._empty_at.items() if at > now}
        if agent in self._empty_at or len(self._empty_at) < self._remembered_max:
            self._empty_at[agent] = max(self._empty_at.get(agent, now), now) + self._step
