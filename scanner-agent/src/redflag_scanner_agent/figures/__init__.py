"""How a host is doing: what the kernel and a few programs say of it (docs/protocol.md 6).

A figure that cannot be read is None or left out, never a guess, and nothing here waits without a limit.
"""

from typing import Protocol

from redflag_wire.report_bodies import Facts, ManagerCapability, Storage, System


class Figures(Protocol):
    """Looks at a host; raises nothing but what is named."""

    async def system(self) -> System:
        """Return how the host is doing."""
        ...

    async def storage(self) -> Storage:
        """Return the host's volumes and disks."""
        ...

    def facts(self, capabilities: list[ManagerCapability]) -> Facts:
        """Return what the host is.

        Raises:
            HostFactsError: a fact the agent cannot do without is missing.
        """
        ...
