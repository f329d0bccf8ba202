"""What a host can be asked to do, apart from its packages."""

from typing import Annotated

from pydantic import Field

from redflag_dashboard.rest.route import Strict
from redflag_wire.command_params import REASON_MAX_CHARS, REBOOT_DELAY_MAX_S
from redflag_wire.fields import Line


class RebootRequest(Strict):
    """Restart the machine."""

    delay_s: int = Field(
        default=60,
        ge=0,
        le=REBOOT_DELAY_MAX_S,
        description="Seconds the host waits before it restarts; until then it can be cancelled",
    )
    reason: Annotated[Line, Field(max_length=REASON_MAX_CHARS)] = Field(
        default="", description="One line for the people on the host"
    )
