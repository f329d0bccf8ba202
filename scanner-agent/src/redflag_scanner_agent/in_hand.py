"""The action in hand: at most one, and it can be asked to stop as long as nothing is half done."""

import asyncio
from dataclasses import dataclass

from redflag_ops.logging import get_logger
from redflag_scanner_agent.actions import Actions, Ending, failed
from redflag_scanner_agent.control import Control
from redflag_scanner_agent.errors import JournalError
from redflag_wire.command import Command
from redflag_wire.command_params import LOOKING_KINDS
from redflag_wire.report import Outcome

log = get_logger()


@dataclass(slots=True)
class _Running:
    cmd: str
    looks: bool
    control: Control
    task: asyncio.Task[Ending]
    interrupted: bool = False


class InHand:
    """Runs one action.

    Args:
        actions: the work.
    """

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._running: _Running | None = None

    async def act(self, cmd: str, command: Command) -> Ending:
        """Carry out a command that is STARTED; whatever breaks is an ending.

        Raises:
            JournalError: the journal failed.
        """
        control = Control(lambda step: log.info("install.step", step=step))
        task = asyncio.create_task(self._actions.act(command, control), name="action")
        running = _Running(cmd, command.kind in LOOKING_KINDS, control, task)
        self._running = running
        try:
            await asyncio.wait({task})
        finally:
            self._running = None
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            if running.interrupted:
                return failed("interrupted", "the agent was stopped while it looked")
            return Ending(Outcome.CANCELLED, "cancelled")
        try:
            return task.result()
        except JournalError:
            raise
        except Exception as error:
            log.exception("command.broke")
            return failed("agent_error", f"{type(error).__name__}: {error}", Outcome.UNKNOWN)

    def can_stop(self, cmd: str) -> bool:
        """Whether a command can still be stopped with nothing half done, as far as the action in hand tells."""
        running = self._running
        return running is None or running.cmd != cmd or not running.control.acting

    def interrupt(self) -> None:
        """Cut the action off if it only looks: an agent told to stop must not go on for minutes for that."""
        running = self._running
        if running is not None and running.looks and not running.control.wanted:
            running.interrupted = True
            running.task.cancel()

    def stop(self, cmd: str) -> None:
        """Ask a command to stop if it is the one in hand; cut its work off where that leaves nothing behind."""
        running = self._running
        if running is None or running.cmd != cmd:
            return
        running.control.ask_to_stop()
        if running.control.may_cut_off:
            running.task.cancel()
