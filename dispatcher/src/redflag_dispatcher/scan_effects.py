"""What the end of a scan means for its subsystem: when it last ran, how it went, when it runs next. Pure.

A scan that nobody started is no run: what expired or was cancelled leaves the last result as it is.
"""

import json
from collections.abc import Iterable
from typing import Final

from redflag_store.command_states import ServerState
from redflag_store.queries.ingest import CommandChange, CommandRow
from redflag_store.queries.subsystem_runs import RunRow
from redflag_wire.command_params import CommandKind
from redflag_wire.report import Outcome

RUNS: Final = frozenset(
    {ServerState.SUCCEEDED, ServerState.FAILED, ServerState.REJECTED, ServerState.UNKNOWN}
)
"""The ends that say something about a subsystem."""


def scan_runs(ended: Iterable[tuple[CommandRow, CommandChange]]) -> list[RunRow]:
    """Return the runs among ended commands, in their order.

    Args:
        ended: commands with what a batch of reports makes of them.
    """
    runs = []
    for command, change in ended:
        if command.kind != CommandKind.SCAN or change.state not in RUNS:
            continue
        runs.append(
            RunRow(
                agent_id=command.agent_id,
                name=str(json.loads(command.params).get("subsystem", "all")),
                command_id=command.id,
                result=change.result or change.state,
                code=change.code,
                good=change.state == ServerState.SUCCEEDED and change.result != Outcome.PARTIAL,
            )
        )
    return runs
