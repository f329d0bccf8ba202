"""Which agents have something pending at the broker, so that an idle agent's poll does not ask it.

Guarantees: an agent is never held to have nothing unless the broker said so since the last (re)connection and no
wake-up has come since; both tables are bounded, and what falls out of them is in doubt again, not forgotten. See
ARCHITECTURE.md 3.
"""

from collections import OrderedDict
from enum import Enum
from uuid import UUID

CHECKED_MAX = 2_000_000  # agents known to have been asked about since the connection stood
PENDING_MAX = 200_000  # agents with something pending


class Need(Enum):
    """What a poll of an agent has to ask of the broker."""

    NOTHING = "nothing"  # the broker need not be asked
    CHECK = "check"  # in doubt: one direct get tells
    PULL = "pull"  # something is there


class PendingSet:
    """The set, fed by wake-ups and by what the broker answered.

    Args:
        checked_max: bound on the agents remembered as asked about.
        pending_max: bound on the agents with something pending.
    """

    def __init__(self, checked_max: int = CHECKED_MAX, pending_max: int = PENDING_MAX) -> None:
        self._checked_max = checked_max
        self._pending_max = pending_max
        self._checked: set[UUID] = set()
        self._due: OrderedDict[UUID, float] = OrderedDict()  # monotonic seconds from which a pull makes sense
        self._version: dict[UUID, int] = {}
        self._counter = 0

    def __len__(self) -> int:
        """Return how many agents have something pending."""
        return len(self._due)

    def need(self, agent: UUID, now: float) -> Need:
        """Say what a poll of this agent has to ask at this moment (monotonic seconds)."""
        due = self._due.get(agent)
        if due is not None:
            return Need.PULL if due <= now else Need.NOTHING
        return Need.NOTHING if agent in self._checked else Need.CHECK

    def due_at(self, agent: UUID) -> float | None:
        """Return when a pull for this agent makes sense (monotonic seconds), None where nothing is pending."""
        return self._due.get(agent)

    def version(self, agent: UUID) -> int:
        """Return a number that changes with each wake-up of an agent that has something pending; for `settle`."""
        return self._version.get(agent, 0)

    def wake(self, agent: UUID, now: float) -> bool:
        """Note that an agent has something new; say whether this gateway keeps track of that agent.

        An agent that never polled here since the connection stood is left out: its first poll asks the broker.
        """
        if agent not in self._checked:
            return False
        self._put(agent, now)
        return True

    def doubt(self, agent: UUID, now: float) -> int:
        """Take an agent as having something pending until the broker says otherwise; return its `version`.

        Called before the broker is asked, so that a wake-up that comes while the answer is under way counts.
        """
        self._remember(agent)
        self._put(agent, now)
        return self.version(agent)

    def postpone(self, agent: UUID, version: int, due: float) -> None:
        """Set the time of the next pull, unless a wake-up came since ``version`` was read."""
        if agent in self._due and self.version(agent) == version:
            self._due[agent] = due

    def settle(self, agent: UUID, version: int) -> bool:
        """Note that the broker holds nothing for the agent, unless a wake-up came since ``version`` was read.

        Returns:
            Whether nothing is pending for it now.
        """
        if self.version(agent) != version:
            return False
        self._drop(agent)
        return True

    def doubt_all(self) -> None:
        """Forget everything: the connection was lost, and wake-ups with it."""
        self._checked.clear()
        self._due.clear()
        self._version.clear()

    def _remember(self, agent: UUID) -> None:
        if len(self._checked) >= self._checked_max and agent not in self._checked:
            self._checked.clear()
        self._checked.add(agent)

    def _put(self, agent: UUID, due: float) -> None:
        self._counter += 1
        self._due[agent] = due
        self._version[agent] = self._counter
        self._due.move_to_end(agent)
        if len(self._due) > self._pending_max:
            oldest = next(iter(self._due))
            self._drop(oldest)
            self._checked.discard(oldest)

    def _drop(self, agent: UUID) -> None:
        self._due.pop(agent, None)
        self._version.pop(agent, None)
