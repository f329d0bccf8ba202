"""Asks hosts for their whole inventory, when what they sent does not build on what is stored.

It is a command of RedFlag itself, a look, so it needs no intent (docs/protocol.md 6). One that is pending already, or
for which the host has no room now, is not asked for twice: the next inventory that does not fit asks again.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from redflag_dispatcher.inventory_writes import note_asked
from redflag_ops.logging import get_logger
from redflag_store.queries.commands_create import request_commands
from redflag_store.queries.refusals import CommandRefusedError
from redflag_store.states import CommandSource
from redflag_wire.clock import Clock
from redflag_wire.command_params import CommandKind, ScanParams

_log = get_logger()
ASKED_BY = "inventory"


async def ask_for_whole(session: AsyncSession, clock: Clock, pairs: Sequence[tuple[UUID, str]]) -> None:
    """Ask for the whole inventory of these (agent, manager) pairs; the caller holds the agents' locks and commits."""
    asked = []
    for agent, manager in pairs:
        params = ScanParams(subsystem=manager, refresh=False, full=True)
        try:
            await request_commands(
                session,
                clock,
                intent=None,
                agents=[agent],
                kind=CommandKind.SCAN.value,
                params=params.model_dump(mode="json"),
                requested_by=ASKED_BY,
                dedupe_key=f"inventory:{manager}",
                source=CommandSource.SYSTEM,
            )
        except CommandRefusedError as error:
            _log.info("ingest.whole_not_asked", agent=str(agent), manager=manager, reason=str(error))
        else:
            asked.append((agent, manager))
    if asked:
        await note_asked(session, asked, clock.now())
