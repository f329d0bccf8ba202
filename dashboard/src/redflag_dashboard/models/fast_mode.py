"""Fast mode: a host that holds its polls open, so that what is asked of it reaches it at once."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from redflag_dashboard.rest.route import Strict
from redflag_store.queries.fast_mode import is_fast
from redflag_store.tables import Agent
from redflag_wire.command_params import HEARTBEAT_MAX_S, HEARTBEAT_MIN_S


class FastModeRequest(Strict):
    """Poll fast."""

    duration_s: int | None = Field(
        ge=HEARTBEAT_MIN_S, le=HEARTBEAT_MAX_S, description="Seconds until it ends; null: until it is stopped"
    )


class FastMode(BaseModel):
    """A host's fast mode, by its own last word."""

    on: bool
    until: datetime | None = Field(description="Its end; null when it is off, or on until it is stopped")
    until_stopped: bool

    @classmethod
    def of(cls, agent: Agent, now: datetime) -> Self:
        """The fast mode of a host."""
        on = is_fast(agent.fast_until, agent.fast_forever, now)
        forever = agent.fast_forever
        return cls(on=on, until=agent.fast_until if on and not forever else None, until_stopped=forever)
