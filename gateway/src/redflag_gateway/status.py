"""Agents that are shut out, from the bucket ``rf-status`` (ARCHITECTURE.md 3).

Guarantees: an agent that was shut out stays so until the bucket says otherwise by a deletion; a bucket that is empty
because the broker lost its store lets nobody in.
"""

from uuid import UUID

from redflag_broker_config.subjects import SubjectError, agent_of_status_key

STATUS_MAX_CHARS = 64
UNREADABLE = "shut_out"  # an entry whose value is not a plain word shuts out all the same


class ShutOut:
    """The set of exceptions: revoked and quarantined agents, each with its word."""

    def __init__(self) -> None:
        self._words: dict[UUID, str] = {}

    def __len__(self) -> int:
        """Return how many agents are shut out."""
        return len(self._words)

    def note(self, key: str, value: bytes | None) -> None:
        """Take over an entry of the bucket.

        Args:
            key: the entry's key.
            value: the word, or None where the entry was deleted.
        """
        try:
            agent = agent_of_status_key(key)
        except SubjectError:
            return
        if value is None:
            self._words.pop(agent, None)
            return
        word = value.decode("ascii", "replace")
        self._words[agent] = word if word.isidentifier() and len(word) <= STATUS_MAX_CHARS else UNREADABLE

    def word(self, agent: UUID) -> str | None:
        """Return why an agent is shut out, or None where it is not."""
        return self._words.get(agent)
