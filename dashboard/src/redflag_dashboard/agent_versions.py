"""What the version of a host's agent means: whether it may be asked, and whether a newer one is to be had. Pure.

A host's version is what its last signed facts said; versions are compared by
`redflag_wire.agent_version`. A host that never said its version is older than every minimum.
"""

from dataclasses import dataclass
from typing import Final

from redflag_store.fleet_settings import FleetSettings
from redflag_wire import agent_version
from redflag_wire.command_params import CommandKind

ALWAYS_ASKED: Final = frozenset({CommandKind.UPDATE_AGENT, CommandKind.CANCEL})
"""What a host is asked for whatever its agent's age: the way out, and stopping what runs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The versions in force.

    Attributes:
        newest: hosts below it are shown with an update available.
        minimum: hosts below it are asked for `ALWAYS_ASKED` only; None for none.
    """

    newest: str
    minimum: str | None

    @classmethod
    def of(cls, settings: FleetSettings, own: str) -> "Wanted":
        """The versions by the settings; `own` is the server's, which is the newest when none is set."""
        return cls(
            newest=settings.version("agents.newest_version") or own,
            minimum=settings.version("agents.minimum_version"),
        )

    def update_available(self, version: str | None) -> bool:
        """Whether a newer agent than this one is to be had."""
        return agent_version.update_available(version, self.newest)

    def below_minimum(self, version: str | None) -> bool:
        """Whether this agent is older than the minimum."""
        return agent_version.is_below(version, self.minimum)


def agent_too_old(version: str | None, minimum: str | None, kind: CommandKind) -> bool:
    """Whether a host whose agent has this version may not be asked for a command of this kind."""
    return kind not in ALWAYS_ASKED and agent_version.is_below(version, minimum)
