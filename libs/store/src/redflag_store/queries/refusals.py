"""Why a command is not asked for, cancelled or retried; each reason has a class and a short constant `code`.

The codes are what job items keep and what the API turns into problem codes.
"""

from typing import ClassVar
from uuid import UUID

from redflag_store.errors import StoreError


class CommandRefusedError(StoreError):
    """A command was not created; `agent_id` is the (first) agent because of which."""

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, agent_id: UUID) -> None:
        super().__init__(message)
        self.agent_id = agent_id


class AgentNotActiveError(CommandRefusedError):
    """The agent may not get commands; `state` is None when there is no such agent."""

    code = "not_active"

    def __init__(self, agent_id: UUID, state: str | None) -> None:
        super().__init__(f"agent {agent_id} is {state or 'unknown'}, not active", agent_id)
        self.state = state


class TooManyPendingError(CommandRefusedError):
    """The agent already has as many commands pending as are allowed."""

    code = "too_many_pending"

    def __init__(self, agent_id: UUID, limit: int) -> None:
        super().__init__(f"agent {agent_id} has {limit} commands pending", agent_id)
        self.limit = limit


class AlreadyPendingError(CommandRefusedError):
    """The agent has a pending command with this dedupe key: `command_id`."""

    code = "already_pending"

    def __init__(self, agent_id: UUID, command_id: UUID) -> None:
        super().__init__(f"agent {agent_id} already has command {command_id} pending", agent_id)
        self.command_id = command_id


class RateLimitedError(CommandRefusedError):
    """The agent was asked for as many commands as `limits.agent_*` allow; one more passes in `retry_after_s`."""

    code = "rate_limited"

    def __init__(self, agent_id: UUID, retry_after_s: float) -> None:
        super().__init__(f"agent {agent_id} takes the next command in {retry_after_s:.0f} s", agent_id)
        self.retry_after_s = retry_after_s


class AlreadyRetriedError(CommandRefusedError):
    """The command was retried already, by command `by`; retry that one."""

    code = "already_retried"

    def __init__(self, agent_id: UUID, command_id: UUID, by: UUID) -> None:
        super().__init__(f"command {command_id} was retried already, by {by}", agent_id)
        self.command_id = command_id
        self.by = by


class DepthError(CommandRefusedError):
    """The command is the last of `limit` retries of retries; ask for a new one instead."""

    code = "retry_depth"

    def __init__(self, agent_id: UUID, command_id: UUID, limit: int) -> None:
        super().__init__(f"command {command_id} is already the {limit}th retry in a row", agent_id)
        self.command_id = command_id
        self.limit = limit


class NoSuchCommandError(StoreError):
    """There is no such command."""

    def __init__(self, command_id: UUID) -> None:
        super().__init__(f"there is no command {command_id}")
        self.command_id = command_id


class CommandEndedError(StoreError):
    """The command has ended already, as `state`; there is nothing to cancel."""

    def __init__(self, command_id: UUID, state: str) -> None:
        super().__init__(f"command {command_id} ended already, as {state}")
        self.command_id = command_id
        self.state = state


class NotEndedError(StoreError):
    """The command is still under way (`state`); it is retried when it has ended."""

    def __init__(self, command_id: UUID, state: str) -> None:
        super().__init__(f"command {command_id} is {state}, it has not ended")
        self.command_id = command_id
        self.state = state


class NotForKindError(StoreError):
    """A command of this kind is neither cancelled nor retried: it is itself a cancel."""

    def __init__(self, command_id: UUID, kind: str) -> None:
        super().__init__(f"command {command_id} is a {kind}")
        self.command_id = command_id
        self.kind = kind


class NoSuchJobError(StoreError):
    """There is no such job."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"there is no job {job_id}")
        self.job_id = job_id


class JobEndedError(StoreError):
    """The job is over, or its end was asked for already (`state`)."""

    def __init__(self, job_id: UUID, state: str) -> None:
        super().__init__(f"job {job_id} is {state} already")
        self.job_id = job_id
        self.state = state
