"""What a host's word on fast mode means for the server: until when it polls fast. Pure.

Only a signed `succeeded` of a command counts; what was asked for is no fact. The end is the host's begin plus the
time asked for. A begin in the future, or longer ago than a command can live, is a wrong clock: then the server's
time of the report counts.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from redflag_store.command_states import ServerState
from redflag_store.queries.ingest import CommandChange, CommandRow
from redflag_wire.command_params import CommandKind

OLDEST_BEGIN: Final = timedelta(hours=1)  # longest life of these commands, docs/protocol.md 3
FAST_KINDS: Final = frozenset({CommandKind.ENABLE_HEARTBEAT.value, CommandKind.DISABLE_HEARTBEAT.value})


@dataclass(frozen=True, slots=True)
class FastMode:
    """A host's fast mode from now on.

    Attributes:
        agent_id: the host.
        until: its end; None: off, or without an end.
        forever: on until it is stopped.
    """

    agent_id: UUID
    until: datetime | None
    forever: bool

    @property
    def on(self) -> bool:
        """Whether the host polls fast at all."""
        return self.forever or self.until is not None


def fast_modes(ended: Iterable[tuple[CommandRow, CommandChange]], at: datetime) -> list[FastMode]:
    """Return what ended commands make of fast modes, at most one for a host: that of its newest command.

    Args:
        ended: commands with what a batch of reports makes of them.
        at: the server's time.
    """
    newest: dict[UUID, tuple[UUID, FastMode]] = {}
    for command, change in ended:
        if command.kind not in FAST_KINDS or change.state != ServerState.SUCCEEDED:
            continue
        known = newest.get(command.agent_id)
        if known is None or known[0] < command.id:  # ids sort by the time they were made
            newest[command.agent_id] = (command.id, _mode_of(command, change, at))
    return [mode for _, mode in newest.values()]


def _mode_of(command: CommandRow, change: CommandChange, at: datetime) -> FastMode:
    if command.kind == CommandKind.DISABLE_HEARTBEAT:
        return FastMode(command.agent_id, None, forever=False)
    duration_s = json.loads(command.params).get("duration_s")
    if duration_s is None:
        return FastMode(command.agent_id, None, forever=True)
    begin = change.agent_started_at or at
    if not at - OLDEST_BEGIN <= begin <= at:
        begin = at
    return FastMode(command.agent_id, begin + timedelta(seconds=duration_s), forever=False)
