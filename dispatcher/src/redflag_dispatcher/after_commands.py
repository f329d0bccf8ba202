"""What else is written when reports end commands: runs of subsystems, and fast modes."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dispatcher.fast_mode_effects import fast_modes
from redflag_dispatcher.scan_effects import scan_runs
from redflag_store.command_states import END_STATES
from redflag_store.queries.fast_mode import write_fast_modes
from redflag_store.queries.ingest import CommandChange, CommandRow
from redflag_store.queries.subsystem_runs import note_runs


async def write_after_commands(
    session: AsyncSession,
    commands: Mapping[UUID, CommandRow],
    changes: Mapping[UUID, CommandChange],
    at: datetime,
) -> None:
    """Write what the ends among these changes mean beyond the commands themselves.

    Args:
        session: in the transaction that stores the reports.
        commands: the commands, locked.
        changes: what the reports make of them.
        at: the server's time.
    """
    ended = [
        (commands[one], change)
        for one, change in changes.items()
        if change.state in END_STATES and change.finished_at is not None
    ]
    await note_runs(session, scan_runs(ended), at)
    await write_fast_modes(
        session, [(mode.agent_id, mode.until, mode.forever) for mode in fast_modes(ended, at)]
    )
